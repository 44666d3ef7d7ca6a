"""Short volume, circuit breakers and halts: which documents there are, and what their parsers do with odd ones."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from spotlightd import Batch, Body, FormatError, Link
from spotlightd.parse import new_york, records
from spotlightd.settings.sources import ParserSettings
from spotlightd.sources.short_interest import (
    finra_short_volume,
    nasdaq_short_halts,
    nasdaq_trading_halts,
    nyse_short_volume,
    nyse_trading_halts,
)
from spotlightd.workers import audit_child
from spotlightd.workers.inline import parse_inline

GOLDEN = Path(__file__).parents[1] / "golden"
LISTS = {
    finra_short_volume.source: finra_short_volume.list_links,
    nyse_short_volume.source: nyse_short_volume.list_links,
    nasdaq_short_halts.source: nasdaq_short_halts.list_links,
    nasdaq_trading_halts.source: nasdaq_trading_halts.list_links,
    nyse_trading_halts.source: nyse_trading_halts.list_links,
}
LAST = date(2026, 11, 27)
TODAY = date(2027, 1, 4)


@cache
def list_links(source: Batch, last: date = LAST) -> tuple[Link, ...]:
    return tuple(LISTS[source](last))


@pytest.mark.parametrize(
    ("source", "covers", "url"),
    [
        (finra_short_volume.source, "2026/05/15/cnms", "https://cdn.finra.org/equity/regsho/daily/CNMSshvol20260515.txt"),
        (finra_short_volume.source, "2009/08/03/forf", "https://cdn.finra.org/equity/regsho/daily/FORFshvol20090803.txt"),
        (
            nyse_short_volume.source,
            "2021/01/04/amex",
            "https://ftp.nyse.com/ShortData/Amexshvol/Amexshvol2021/Amexshvol202101/Amexshvol20210104.txt",
        ),
        (
            nasdaq_short_halts.source,
            "2026/08/20",
            "https://www.nasdaqtrader.com/dynamic/symdir/shorthalts/shorthalts20260820.txt",
        ),
        (
            nasdaq_trading_halts.source,
            "2026/08/07",
            "https://www.nasdaqtrader.com/rss.aspx?feed=tradehalts&haltdate=08072026",
        ),
        (
            nyse_trading_halts.source,
            "2024/02",
            "https://www.nyse.com/api/trade-halts/historical/download?haltDateFrom=2024-02-01&haltDateTo=2024-02-29&symbol=",
        ),
    ],
)  # fmt: skip
def test_addresses_are_computed_from_the_day(source: Batch, covers: str, url: str) -> None:
    links = {link.covers: link for link in list_links(source)}
    assert links[covers].url == url


@pytest.mark.parametrize("source", LISTS, ids=lambda source: source.name)
def test_each_document_is_listed_once_and_on_days_with_trades(source: Batch) -> None:
    links = list_links(source)
    assert len({link.url for link in links}) == len({link.covers for link in links}) == len(links) >= source.least_links
    assert max(link.last for link in links) >= LAST
    assert {link.first.weekday() for link in links if link.first == link.last} <= set(range(5))
    assert {re.sub(r"^https://([^/]+)/.*$", r"\1", link.url) for link in links} == set(source.hosts)


@pytest.mark.parametrize("source", LISTS, ids=lambda source: source.name)
@pytest.mark.parametrize("day", [date(2026, 11, 30), date(2026, 12, 1), date(2027, 1, 1), TODAY])
def test_what_is_expected_is_listed_and_due_by_then(source: Batch, day: date) -> None:
    expected = source.expected(day)
    assert expected.due <= day
    (link,) = [link for link in list_links(source, TODAY) if link.covers == expected.covers]
    assert link.first < day


def test_times_of_new_york_are_utc_in_summer_and_in_winter() -> None:
    assert new_york.read_time("2026-07-24 19:50:38", "%Y-%m-%d %H:%M:%S") == datetime(
        2026, 7, 24, 23, 50, 38, tzinfo=UTC
    )
    assert new_york.read_time("2026-12-04 19:50", "%d", "%Y-%m-%d %H:%M") == datetime(2026, 12, 5, 0, 50, tzinfo=UTC)
    assert new_york.read_time("2026-11-01 01:30", "%Y-%m-%d %H:%M") == datetime(2026, 11, 1, 5, 30, tzinfo=UTC)
    with pytest.raises(ValueError, match="skipped"):
        new_york.read_time("2026-03-08 02:30", "%Y-%m-%d %H:%M")


def test_a_feed_with_a_field_twice_is_refused() -> None:
    with pytest.raises(FormatError, match="another a in one item"):
        records.read_feed("<rss><channel><item><a>1</a><a>2</a></item></channel></rss>")


def test_what_stands_outside_of_an_item_is_no_field() -> None:
    feed = records.read_feed(
        "<rss><title>no</title><channel><n:count>1</n:count><image><url>u</url></image>\n<item><a>1</a><c/></item></channel></rss>"
    )
    assert feed.head["count"] == "1"
    assert [(item.line, dict(item.fields)) for item in feed.items] == [(2, {"a": "1", "c": ""})]


def test_a_field_that_holds_elements_is_refused() -> None:
    with pytest.raises(FormatError, match="the element b inside of a"):
        records.read_feed("<rss><channel><item><a>1<b>2</b></a></item></channel></rss>")


def test_a_document_that_is_too_large_for_records_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(records.MOST_BYTES + 1)
    with pytest.raises(FormatError, match="more than 64 MB"):
        records.read_text(Body(path, "large"))


def test_no_document_is_expected_of_a_day_without_trades() -> None:
    thanksgiving = date(2026, 11, 26)
    for source in LISTS:
        days = {link.first for link in list_links(source) if link.first == link.last}
        assert thanksgiving not in days, source.name
    assert finra_short_volume.source.expected(date(2026, 11, 27)).covers == "2026/11/25/cnms"
    assert finra_short_volume.source.expected(date(2026, 11, 28)).covers == "2026/11/27/cnms"


@pytest.mark.parametrize(
    ("source", "case"),
    [
        (finra_short_volume.source, "consolidated_2026"),
        (finra_short_volume.source, "header_without_exempt_volume"),
        (nyse_short_volume.source, "nyse_2021_01_04"),
        (nyse_short_volume.source, "arca_2009_07_30"),
        (nasdaq_short_halts.source, "constructed_commas"),
        (nasdaq_short_halts.source, "constructed_pipes_in_winter"),
        (nyse_trading_halts.source, "open_2026_07_24"),
        (nyse_trading_halts.source, "constructed_resumptions"),
    ],
)
def test_an_audit_of_a_plain_text_finds_every_row_in_its_line(source: Batch, case: str) -> None:
    (document,) = (path for path in (GOLDEN / source.name / case).iterdir() if path.suffix != ".json")
    (dataset,) = source.datasets
    names = [column.name for column in dataset.columns]
    rows = [row for block in parse_inline(source, document, document.name) for row in block.columns.to_pylist()]  # type: ignore[union-attr]
    request: dict[str, Any] = {
        "place": source.parse.__module__, "source": source.name, "path": str(document), "name": document.name, "columns": names,
        "rows": [[0, row["line"], [audit_child.encode_value(row[name]) for name in names]] for row in rows],
        "limits": asdict(ParserSettings()), "most": 10,
    }  # fmt: skip
    assert audit_child.audit_document(request)["count"] == 0
    request["rows"][0][2][names.index(source.datasets[0].symbol)] = "another"
    assert audit_child.audit_document(request)["count"] == 1
