"""The demo's threshold lists: the real parsers read what the mirror answers, and tell its absences apart."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urldefrag

import pytest

from spotlightd.demo.publisher import Request
from spotlightd.demo.publishers import threshold as demo
from spotlightd.model.source import Batch, Link, Rows
from spotlightd.sources.threshold import cboe, finra, nasdaq, nyse
from spotlightd.testing import MemoryPublishers
from spotlightd.workers.inline import parse_inline


@pytest.mark.parametrize(
    "source", [nasdaq.source, nyse.source, cboe.source, finra.source], ids=lambda source: source.name
)
async def test_every_list_of_the_demo_is_read(source: Batch, tmp_path: Path) -> None:
    period = demo.PUBLISHER.days[source.name]
    links = [link async for link in source.discover(MemoryPublishers().for_source(source)) if link.first in period]
    statuses = {
        "threshold_nasdaq": ["list"] * 5 + ["404"] + ["list"] * 3,
        "threshold_nyse": ["empty"] + ["list"] * 5 + ["empty_or_absent"] + ["list"] * 2,  # of the first of its markets
        "threshold_cboe": ["list"] * 8 + ["403"],
        "threshold_finra": ["list"] * 9,
    }
    assert [_read_status(source, link, tmp_path) for link in links] == statuses[source.name]


def _read_status(source: Batch, link: Link, folder: Path) -> str:
    target = urldefrag(link.url).url.removeprefix("https://")
    answer = demo.answer(
        Request("POST" if link.post else "GET", target, body=(link.post or "").encode()), demo.PUBLISHER.stages[0]
    )
    assert answer is not None
    if answer.status != 200:
        return str(answer.status)
    document = folder / "list.txt"
    document.write_bytes(answer.body)
    blocks = list(parse_inline(source, document, link.url.rpartition("/")[2], period=link.period))
    assert all(isinstance(block, Rows) for block in blocks)
    assert isinstance(blocks[-1], Rows)
    return str(blocks[-1].columns["status"][0].as_py())
