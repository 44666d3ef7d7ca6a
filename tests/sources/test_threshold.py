"""The sources of threshold lists: which days they ask for, at which addresses, how fast; symbols in one spelling."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from spotlightd import Batch, FormatError, Link, Rows
from spotlightd.calendars.united_states import settlement_days
from spotlightd.parse.new_york import NEW_YORK
from spotlightd.runtime.catalog import load_catalog
from spotlightd.sources.threshold import cboe, finra, lists, nasdaq, nyse, occ
from spotlightd.testing import MemoryPublishers
from spotlightd.workers.inline import parse_inline

COLLECTED = (nasdaq.source, nyse.source, cboe.source, finra.source, occ.source)
DAY = date(2026, 7, 27)
REAL = Path(__file__).parent.parent / "golden/threshold_nasdaq/list_2026_07_27/nasdaqth20260727.txt"


async def discover(source: Batch) -> list[Link]:
    return [link async for link in source.discover(MemoryPublishers().for_source(source))]


@pytest.mark.parametrize("source", COLLECTED, ids=lambda source: source.name)
async def test_each_settlement_day_that_is_over_is_asked_for(source: Batch) -> None:
    links = await discover(source)
    yesterday = datetime.now(NEW_YORK).date() - timedelta(days=1)
    days = [link.first for link in links]
    assert days == list(settlement_days(days[0], yesterday))
    assert all(link.is_probe and link.covers == f"{link.last:%Y/%m/%d}" for link in links)
    assert len({link.url for link in links}) == len(links)


async def test_lists_are_asked_for_since_they_exist() -> None:
    firsts = {source.name: (await discover(source))[0].first for source in COLLECTED[:4]}
    assert firsts == {
        "threshold_nasdaq": date(2005, 1, 7), "threshold_nyse": date(2005, 1, 3), "threshold_cboe": date(2014, 8, 20),
        "threshold_finra": date(2016, 1, 4),
    }  # fmt: skip
    assert len(await discover(occ.source)) <= 29, "the OCC shows some weeks only"


@pytest.mark.parametrize(
    ("make_address", "address"),
    [
        (nasdaq.make_address, "https://www.nasdaqtrader.com/dynamic/symdir/regsho/nasdaqth20260727.txt"),
        (nyse.make_address, "https://www.nyse.com/api/regulatory/threshold-securities/download?selectedDate=2026-07-27&market="),
        (
            cboe.make_address,
            "https://cdn.cboe.com/resources/us/equities/market-statistics/reg-sho-threshold/bzx_equities_reg_sho_threshold_20260727.txt",
        ),
        (finra.make_address, "https://api.finra.org/data/group/otcMarket/name/thresholdList#2026-07-27"),
        (occ.make_address, "https://marketdata.theocc.com/threshold-securities?reportDate=20260727"),
    ],
)  # fmt: skip
def test_the_address_of_a_day_tells_the_day(make_address: Callable[[date], str], address: str) -> None:
    assert make_address(DAY) == address
    assert lists.read_day(address.rsplit("/", 1)[-1]) == DAY


async def test_finra_is_asked_for_lines_of_one_day() -> None:
    query = json.loads(finra.make_post(DAY))
    assert query["compareFilters"] == [{"compareType": "EQUAL", "fieldName": "tradeDate", "fieldValue": "2026-07-27"}]
    assert query["limit"] == finra.MOST_LINES
    assert await finra.authorize(MemoryPublishers().for_source(finra.source)) == {"Accept": "text/plain"}


def test_hosts_that_shut_out_quick_clients_are_asked_slowly() -> None:
    assert {source.name: source.requests_per_second for source in COLLECTED if source.requests_per_second <= 0.25} == {
        "threshold_nasdaq": 0.2, "threshold_nyse": 0.2,
    }  # fmt: skip


def test_a_page_of_nasdaq_is_never_taken_for_the_news_that_there_is_no_list() -> None:
    """The page of a missing file and that of a client that asks too fast look alike."""
    assert not nasdaq.source.page_is_absent
    assert (occ.source.page_is_absent, cboe.source.forbidden_is_absent) == (True, True)
    assert all(source.begins_with == lists.HEADERS for source in (nasdaq.source, nyse.source, cboe.source, occ.source))


@pytest.mark.parametrize(
    ("day", "covers", "due"),
    [
        (date(2026, 7, 29), "2026/07/27", date(2026, 7, 29)),
        (date(2026, 7, 27), "2026/07/24", date(2026, 7, 26)),  # a Monday: Friday's list
        (date(2026, 7, 7), "2026/07/02", date(2026, 7, 4)),  # after a holiday on Friday
        (date(2026, 7, 8), "2026/07/06", date(2026, 7, 8)),
    ],
)
def test_a_list_is_late_two_days_after_its_day(day: date, covers: str, due: date) -> None:
    expected = lists.expected(day)
    assert (expected.covers, expected.due) == (covers, due)


@pytest.mark.parametrize(
    ("printed", "symbol"),
    [
        ("BRK.B", "BRK.B"),
        ("BRK/B", "BRK.B"),
        ("BRK B", "BRK.B"),
        ("BRK-B", "BRK.B"),
        (" gme ", "GME"),
        ("ABC  WS", "ABC.WS"),
    ],
)
def test_every_separator_of_a_symbol_is_a_point(printed: str, symbol: str) -> None:
    assert lists.normalize_symbol(printed) == symbol


@pytest.mark.parametrize("name", ["list.txt", "nasdaqth20260726.txt", "nasdaqth20261340.txt", "nasdaqth19990104.txt"])
def test_a_name_without_a_settlement_day_is_refused(name: str) -> None:
    with pytest.raises(FormatError, match="has no settlement day, such as 20260727"):
        list(parse_inline(nasdaq.source, REAL, name))


def test_other_ends_of_lines_do_not_change_a_list(tmp_path: Path) -> None:
    document = tmp_path / "nasdaqth20260727.txt"
    document.write_bytes(b"\xef\xbb\xbf" + REAL.read_bytes().replace(b"\r\n", b"\n") + b"\n\n")
    (rows, _) = [item for item in parse_inline(nasdaq.source, document, document.name) if isinstance(item, Rows)]
    assert rows.columns.num_rows == 56


def test_every_market_without_a_list_has_its_reason() -> None:
    reasons = {
        source.name: source.suspended for source in load_catalog().sources if source.name.startswith("threshold_")
    }
    assert {name for name, reason in reasons.items() if reason} == {
        "threshold_chx", "threshold_amex", "threshold_memx", "threshold_miax_pearl", "threshold_ltse", "threshold_iex",
        "threshold_finra_text",
    }  # fmt: skip
    assert "no security of its own" in reasons["threshold_memx"]
