"""ICE and CME: which addresses are requested, and how a token is had. The documents are in tests/golden."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from spotlightd import PublisherError
from spotlightd.model.source import list_wholes
from spotlightd.sources.cme import repository as cme
from spotlightd.sources.ice import sec, trade_vault
from spotlightd.testing import MemoryPublishers, Reply

TOKEN = "https://tradevault.ice.com/tvsec/ticker/webpi/getToken"


def test_every_day_of_ice_has_an_address_and_nothing_lists_it() -> None:
    links = list(trade_vault.list_links("tvsec", date(2026, 11, 26), date(2026, 11, 28)))
    assert [link.covers for link in links] == ["2026/11/26", "2026/11/27", "2026/11/28"]
    assert links[0].url == "https://tradevault.ice.com/tvsec/ticker/webpi/exportTicks?date=2026-11-26"
    assert all(link.is_probe for link in links)


async def test_a_token_of_ice_is_had_by_a_post_without_a_body() -> None:
    publishers = MemoryPublishers({TOKEN: Reply(b'{"token": "abc"}')})
    assert sec.source.authorize is not None
    headers = await sec.source.authorize(publishers.for_source(sec.source))
    assert headers == {"Authorization": "Bearer abc"}
    assert publishers.posts == {TOKEN: ""}


@pytest.mark.parametrize("answer", [b"{}", b'{"token": ""}', b'["abc"]', b'{"token": 1}', b"<html>busy</html>"])
async def test_an_answer_without_a_token_is_a_failure(answer: bytes) -> None:
    publishers = MemoryPublishers({TOKEN: Reply(answer)})
    assert sec.source.authorize is not None
    with pytest.raises(PublisherError, match=r"gives no token|is not JSON") as caught:
        await sec.source.authorize(publishers.for_source(sec.source))
    assert caught.value.outcome == "wrong body"


def test_files_of_hours_of_cme_are_parts_of_their_day() -> None:
    """On Thursday at 02:30 UTC: business days in both spellings, and the hours since Wednesday began, which have ended."""
    links = list(cme.list_links(datetime(2026, 7, 9, 2, 30, tzinfo=UTC)))
    forex = [link for link in links if "/fx/" in link.url and link.last >= date(2026, 7, 8)]
    names = [link.url.rpartition("/")[2] for link in forex]
    assert names[:4] == [
        "RT.FX.20260708.csv.zip", "RT.FX.20260708.zip", "RT.FX.20260709.csv.zip", "RT.FX.20260709.zip",
    ]  # fmt: skip
    assert names[4:6] == ["RT.FX.20260709.0100.csv.zip", "RT.FX.20260709.0000.csv.zip"]
    assert names[-1] == "RT.FX.20260708.0000.csv.zip"
    assert len(names) == 4 + 26
    assert forex[4].covers == "2026/07/09/fx/h0100"
    assert forex[2].covers in list_wholes(forex[4].covers)
    assert forex[0].url == "https://www.cmegroup.com/ftp/sdr/fx/2026/07/RT.FX.20260708.csv.zip"
