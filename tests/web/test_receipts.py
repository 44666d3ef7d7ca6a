"""A trade leads back to its frame, and is cited, downloaded and counted like every other row."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
import pytest_asyncio

from spotlightd.commands import docs
from spotlightd.commands.output import Out, format_cell
from spotlightd.commands.read.query import keep_whole, with_visible
from spotlightd.commands.receipts.verify import print_verdict
from spotlightd.datasets.bars import bars
from spotlightd.model.stream import load_digest
from spotlightd.ports.warehouse import Limits
from spotlightd.query import citation, verify
from spotlightd.sql.visibility import Snapshot
from tests.web.streaming import CONNECTION, FEED, Trade, Venue, streaming

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def venue(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Venue]:
    async with streaming(tmp_path_factory.mktemp("receipts")) as venue:
        await venue.open_load()
        at = datetime.now(UTC) - timedelta(seconds=30)
        await venue.trade([Trade("AAPL", 101.5, 10, at), Trade("AAPL", 101.25, 0.123456789012345, at)])
        await venue.trade(
            [Trade("BINANCE:BTCUSDT", 61_000.5, 0.000012345678901234, at + timedelta(seconds=1))], times=3
        )
        await venue.frame(b"\x00\xff\xfe not text", at + timedelta(seconds=2))
        yield venue


async def key(venue: Venue, symbol: str, offset: int, index: int = 0) -> str:
    """The address of a trade's page, as the table has it."""
    _, text, _ = await venue.world.get(f"/data/trades?symbol={quote(symbol)}&offset={offset}&frame_index={index}")
    return text.split('<td class="receipt"><a href="')[1].split('"')[0]


async def test_a_trade_shows_the_frame_that_it_came_in(venue: Venue) -> None:
    status, text, _ = await venue.world.get(await key(venue, "AAPL", 0, 1))
    assert status == 200
    assert "0.123456789012345" in text
    assert f"of connection {CONNECTION}" in text
    assert "No other frame with the same bytes" in text
    assert 'href="/data/finnhub_frames/1,0,0"' in text
    assert "&#34;c&#34;: [&#34;1&#34;, &#34;12&#34;]" in text
    assert "/source/" not in text


async def test_a_frame_received_three_times_is_marked(venue: Venue) -> None:
    _, text, _ = await venue.world.get(await key(venue, "BINANCE:BTCUSDT", 2))
    assert "received 3 times" in text
    assert "1.2345678901234e-05" in text


async def test_a_trade_as_json_names_its_frame(venue: Venue) -> None:
    _, text, _ = await venue.world.get(f"{await key(venue, 'AAPL', 0)}.json")
    (row,) = json.loads(text)["rows"]
    assert row["receipt"]["frame"] == "/data/finnhub_frames/1,0,0"
    assert (row["receipt"]["source"], row["receipt"]["offset"]) == ("finnhub", 0)
    assert "line" not in row["receipt"]


async def test_a_frame_has_a_page_even_when_it_is_no_text(venue: Venue) -> None:
    status, text, _ = await venue.world.get("/data/finnhub_frames/1,0,4")
    assert status == 200
    assert "00 ff fe 20 6e 6f 74" in text
    assert "shown in hexadecimal" in text
    status, text, _ = await venue.world.get("/data/finnhub_frames?_sort=offset")
    assert status == 200
    assert text.count('class="receipt"><a') == 5


@pytest.mark.parametrize("sort", ["_sort", "_sort_desc"])
async def test_frames_are_paged_to_the_end_by_when_they_came(venue: Venue, sort: str) -> None:
    path, offsets = f"/data/finnhub_frames.json?{sort}=received&_size=1", list[int]()
    while path and len(offsets) < 10:
        _, text, _ = await venue.world.get(path)
        page = json.loads(text)
        offsets += [row["offset"] for row in page["rows"]]
        path = page["next"] or ""
    assert sorted(offsets) == list(range(venue.offset))


async def test_what_was_decoded_from_a_frame_is_one_link_away(venue: Venue) -> None:
    _, text, _ = await venue.world.get("/data/finnhub_frames/1,0,0")
    link = text.split('">Rows decoded from it')[0].rpartition('href="')[2].replace("&amp;", "&")
    status, text, _ = await venue.world.get(link)
    assert status == 200
    assert "<strong>2</strong> rows" in text


async def test_a_digest_that_names_frames_leads_to_them(venue: Venue) -> None:
    _, text, _ = await venue.world.get("/data/loads.json?dataset=trades")
    (load,) = json.loads(text)["rows"]
    status, _, answer = await venue.world.get(f"/source/{load['document']}")
    assert status == 303
    status, text, _ = await venue.world.get(answer.headers["Location"])
    assert status == 200
    assert "<strong>5</strong> rows" in text


@pytest.mark.parametrize("suffix", ["csv", "ndjson", "json", "arrow", "parquet"])
async def test_trades_are_downloaded_with_their_receipts(venue: Venue, suffix: str) -> None:
    assert venue.world.session
    async with venue.world.session.get(f"{venue.world.address}/data/trades.{suffix}?_receipt=1") as answer:
        body = await answer.read()
    assert answer.status == 200
    assert len(body) > 500
    if suffix == "csv":
        lines = body.decode().splitlines()
        assert lines[0].endswith('"_document","_epoch","_partition","_offset","_frame_index"')
        assert len(lines) == 6


async def test_the_first_page_shows_trades_without_counting_them(venue: Venue) -> None:
    status, text, _ = await venue.world.get("/")
    assert status == 200
    card = text.split('href="/data/trades"')[1].split("</article>")[0]
    assert ">5</dd>" in card
    assert f"{datetime.now(UTC):%Y-}" in card
    assert "rows are added as they are decoded" in text
    for name in ("gaps", "lost_frames", "heartbeats", "finnhub_frames"):
        assert f'href="/data/{name}"' in text


async def test_status_shows_feeds_and_drains(venue: Venue) -> None:
    _, text, _ = await venue.world.get("/status")
    assert "Finnhub &lt;trades&gt;" in text
    assert ">connected</mark>" in text
    assert "one &lt;b&gt;sentence&lt;/b&gt;" in text
    _, text, _ = await venue.world.get("/status.json")
    status_json = json.loads(text)
    assert (status_json["feeds"][0]["source"], status_json["feeds"][0]["state"]) == ("finnhub", "connected")
    assert (status_json["drains"][0]["lag_frames"], status_json["drains"][0]["lag_seconds"]) == (3, 1.5)


async def cited(venue: Venue, address: str) -> citation.Citation:
    status, text, _ = await venue.world.get(f"/cite?address={quote(address)}")
    assert status == 200, text
    return citation.from_json(text)


def library(venue: Venue) -> citation.Library:
    return citation.Library(venue.world.warehouse, venue.world.context.datasets, Limits(seconds=60))


async def test_a_citation_of_trades_stays_the_same_while_more_come(venue: Venue) -> None:
    first_citation = await cited(venue, "/data/trades?symbol=AAPL")
    assert first_citation.result.rows == 2
    assert "ingested__lt=" in first_citation.address
    (document,) = first_citation.documents
    assert (document.source, document.parser, document.url) == ("finnhub", FEED.parser, "")
    assert document.sha256 == load_digest("finnhub", datetime.now(UTC).date(), 0)
    later = datetime.now(UTC) + timedelta(seconds=5)
    await venue.trade([Trade("AAPL", 300.0, 1, later)])
    verdict = await verify.verify(library(venue), first_citation)
    assert (verdict.outcome, verdict.rows_found) == ("same", 2)
    again = await cited(venue, first_citation.address)
    assert again.address == first_citation.address
    forged = replace(first_citation, result=replace(first_citation.result, rows=3))
    assert (await verify.verify(library(venue), forged)).outcome == "differs"


async def test_one_trade_is_cited_by_its_place(venue: Venue) -> None:
    address = await key(venue, "BINANCE:BTCUSDT", 3)
    first_citation = await cited(venue, address)
    assert (first_citation.result.rows, "ingested" in first_citation.address) == (1, False)
    assert (await verify.verify(library(venue), first_citation)).outcome == "same"


async def test_missing_frames_cannot_be_fetched_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    document = citation.CitedDocument("1" * 64, "d", "finnhub", "", 5, "2" * 64)
    print_verdict(Out(), verify.Verdict("missing documents", 5, missing=(verify.Missing(document),)))
    output = capsys.readouterr().out
    assert "not received here: frames of finnhub" in output
    assert "cannot be fetched" in output
    assert "--fetch" not in output


async def ask(venue: Venue, path: str) -> list[dict[str, Any]]:
    status, text, _ = await venue.world.get(path)
    assert status == 200, text
    rows: list[dict[str, Any]] = json.loads(text)["rows"]
    return rows


async def test_the_uuid_of_a_trade_can_be_asked_for_filtered_and_sorted_by(venue: Venue) -> None:
    rows = await ask(venue, "/data/trades.json?_cols=symbol,offset,uuid&_size=100")
    ids = [row["uuid"] for row in rows]
    assert len({str(UUID(text)) for text in ids}) == len(ids) > 4
    in_table = await venue.world.warehouse.rows("SELECT uuid FROM trades")
    assert {str(value) for (value,) in in_table.rows} == set(ids)
    assert await ask(venue, f"/data/trades.json?_cols=symbol,offset,uuid&_size=9&uuid={ids[1].upper()}") == [rows[1]]
    assert await ask(venue, f"/data/trades.json?_cols=symbol,offset,uuid&_size=9&uuid__startswith={ids[2][:13]}") == [
        rows[2]
    ]
    path, paged = "/data/trades.json?_cols=uuid&_sort=uuid&_size=2", list[str]()
    while path and len(paged) < 100:
        _, text, _ = await venue.world.get(path)
        paged += [row["uuid"] for row in json.loads(text)["rows"]]
        path = json.loads(text)["next"] or ""
    assert (sorted(paged), len(set(paged))) == (sorted(ids), len(paged))
    _, page, _ = await venue.world.get("/data/trades?_cols=symbol,uuid")
    assert all(text in page for text in ids)
    _, text, _ = await venue.world.get("/data/trades.csv?_cols=uuid,symbol")
    assert set(text.splitlines()) == {'"uuid","symbol"', *(f'"{row["uuid"]}","{row["symbol"]}"' for row in rows)}


async def test_a_uuid_that_is_none_is_refused(venue: Venue) -> None:
    status, text, _ = await venue.world.get("/data/trades.json?uuid=abc")
    assert (status, "is not a UUID" in json.loads(text)["error"]["detail"]) == (400, True)


async def test_every_documented_column_can_be_asked_for(venue: Venue) -> None:
    """By `spotlightd query` and in the explorer, for every dataset that docs/datasets.md describes."""
    datasets = (bars, *venue.world.context.datasets)
    await venue.world.warehouse.ensure(bars)
    async with venue.world.served(datasets=datasets) as world:
        for dataset in datasets:
            page = docs.datasets_page([dataset], (), {})
            names = [
                *re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE),
                *re.findall(r"`(\w+)` \(", page.rpartition("receipt:")[2]),
            ]
            assert {column.name for column in (*dataset.columns, *dataset.derived)} <= set(names), dataset.name
            sql = f"SELECT {', '.join(names)} FROM {dataset.name} LIMIT 1"
            text, params = with_visible(sql, datasets, "spotlightd", Snapshot(99))
            assert (await world.warehouse.rows(text, params)).names == tuple(names)
            status, answer, _ = await world.get(f"/data/{dataset.name}.json?_size=1&_cols={','.join(names)}")
            assert status == 200, answer
            assert [column["name"] for column in json.loads(answer)["columns"]] == names
            status, answer, _ = await world.get(f"/data/{dataset.name}.csv?_size=1&_cols={','.join(names)}")
            assert (status, answer.splitlines()[0]) == (200, ",".join(f'"{name}"' for name in names))


@pytest.mark.parametrize("as_json", [False, True])
async def test_query_shows_a_time_with_all_its_digits(venue: Venue, as_json: bool) -> None:
    warehouse = venue.world.warehouse
    sql = "SELECT received AS `when`, received AS second, offset FROM finnhub_frames ORDER BY offset DESC -- the last first"
    text = await keep_whole(warehouse, sql, {}, as_json=as_json)
    answer = await warehouse.rows(text)
    assert answer.names == ("when", "second", "offset")
    assert [row[2] for row in answer.rows] == sorted((row[2] for row in answer.rows), reverse=True)
    for when, second, _ in answer.rows:
        assert re.fullmatch(
            r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{6}789\+00:00" if as_json else r"\d{4}-\d\d-\d\d [\d:]{8}\.\d{6}789", when
        )
        assert when == second
    for other in ("SELECT 1", "SELECT now64(6)", "SELECT nonsense(", "SHOW TABLES"):
        assert await keep_whole(warehouse, other, {}, as_json=as_json) == other


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT toStartOfHour(toDateTime('2026-11-30 19:45:00', 'UTC'))", "2026-11-30 19:00:00"),
        ("SELECT toNullable(toDateTime('2026-11-30 19:45:00', 'UTC'))", "2026-11-30 19:45:00"),
        ("SELECT map('a', toDate('2026-11-30'))", '{"a":"2026-11-30"}'),
        ("SELECT (toDateTime64('2026-11-30 19:45:00.123456789', 9, 'UTC'), 1)", '["2026-11-30 19:45:00.123456789",1]'),
        ("SELECT [toDateTime('2026-11-30 19:45:00', 'UTC')]", '["2026-11-30 19:45:00"]'),
    ],
)
async def test_query_shows_times_and_maps_whole_wherever_they_are(venue: Venue, sql: str, text: str) -> None:
    answer = await venue.world.warehouse.rows(await keep_whole(venue.world.warehouse, sql, {}, as_json=False))
    assert [format_cell(value) for value in answer.rows[0]] == [text]
