"""Topics and their newest messages as pages, and what the pages show while the bus does not answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from spotlightd.errors import OffsetError, StoreError
from spotlightd.model.bus import Frame, pack_key, source_mark
from spotlightd.web.parts.frame_text import lay_out_json, make_readable
from spotlightd.web.parts.topic_reader import MESSAGES
from tests.web.streaming import FEED, MemoryBus, Venue, foreign_record, streaming

pytestmark = pytest.mark.asyncio(loop_scope="session")
COUNT = 2 * MESSAGES + 5


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def venue(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Venue]:
    async with streaming(tmp_path_factory.mktemp("topics")) as venue:
        began = datetime.now(UTC) - timedelta(seconds=COUNT)
        for at in range(COUNT):
            moment = began + timedelta(seconds=at)
            value = b'{"type":"ping"}' if at % 2 else f'{{"data":[{{"p":1.50,"s":"<b>{at}"}}],"type":"trade"}}'.encode()
            frame = Frame(77, at, int(moment.timestamp() * 1e9), value)
            venue.bus.records[at] = (pack_key(source_mark(FEED.name), frame), value)
        venue.positions.offset = COUNT - 4
        yield venue


async def test_topics_show_ends_position_and_lag(venue: Venue) -> None:
    status, text, _ = await venue.world.get("/topics")
    assert status == 200
    assert "log-of-finnhub" in text
    assert f">{COUNT - 4}</td>" in text
    _, text, _ = await venue.world.get("/topics.json")
    (topic,) = json.loads(text)["topics"]
    assert (topic["name"], topic["epoch"], topic["log_id"]) == ("finnhub", 1, "log-of-finnhub")
    (part,) = topic["partitions"]
    assert (part["start"], part["end"], part["kept"], part["drained"], part["lag"]) == (0, COUNT, COUNT, COUNT - 4, 4)
    assert 3 <= part["lag_seconds"] < 60


async def test_the_newest_messages_come_first_and_lead_back_page_by_page(venue: Venue) -> None:
    offsets: list[int] = []
    path = "/topics/finnhub.json"
    while path:
        _, text, _ = await venue.world.get(path)
        page = json.loads(text)
        offsets += [message["offset"] for message in page["messages"]]
        path = page["older"] or ""
    assert offsets == list(reversed(range(COUNT)))


async def test_a_message_is_shown_with_its_receipt_time_and_frame(venue: Venue) -> None:
    status, text, _ = await venue.world.get("/topics/finnhub?partition=0&before=3")
    assert status == 200
    assert "frame 2 of connection 77" in text
    assert "&lt;b&gt;2" in text
    assert "<b>2" not in text
    assert "1.50" in text
    assert 'href="/data/finnhub_frames/1,0,2"' in text
    assert "before=23" in text
    assert ">Newest</a>" in text
    assert "older →" not in text
    _, text, _ = await venue.world.get("/topics/finnhub")
    assert text.count(">waiting</mark>") == 4


async def test_records_of_other_programs_and_bytes_are_shown_too(venue: Venue) -> None:
    odd = MemoryBus({0: foreign_record(b"\xff\x00<"), 1: foreign_record(b'{"a":' * 5000)})
    async with venue.world.served(bus=odd) as other:
        status, text, _ = await other.get("/topics/finnhub")
    assert status == 200
    assert "written by another program" in text
    assert "ff 00 3c" in text
    assert "only its beginning is shown" in text


@pytest.mark.parametrize("path", ["/topics", "/topics/finnhub", "/topics.json", "/topics/finnhub.json"])
async def test_a_bus_failure_is_shown_and_is_no_server_error(venue: Venue, path: str) -> None:
    async with venue.world.served(bus=MemoryBus(refuses=StoreError("broker <1> is gone"))) as other:
        status, text, _ = await other.get(path)
    assert status == 200
    assert "The bus cannot answer: broker" in text
    assert "<1>" not in text or path.endswith("json")
    async with venue.world.served(bus=None, positions=None) as other:
        status, text, _ = await other.get(path)
    assert status == 200
    assert "There is no bus here" in text


async def test_trimmed_messages_are_reported_as_trimmed(venue: Venue) -> None:
    records = {offset: record for offset, record in venue.bus.records.items() if offset >= 30}
    async with venue.world.served(bus=MemoryBus(records, start=30)) as other:
        _, text, _ = await other.get("/topics/finnhub?before=10")
    assert "no longer keeps messages before offset 30" in text

    class Trimmed(MemoryBus):
        async def peek(self, *_: object, **__: object) -> object:  # type: ignore[override]
            raise OffsetError("offset 0 was trimmed")

    async with venue.world.served(bus=Trimmed(dict(venue.bus.records))) as other:
        status, text, _ = await other.get("/topics/finnhub")
    assert (status, "offset 0 was trimmed" in text) == (200, True)


@pytest.mark.parametrize(
    "query", ["before=x", "before=-1", "partition=70000", "before=99999999999999999999", "offset=1"]
)
async def test_an_invalid_position_is_refused(venue: Venue, query: str) -> None:
    status, _, _ = await venue.world.get(f"/topics/finnhub?{query}")
    assert status == 400


async def test_an_unknown_topic_or_partition_is_not_found(venue: Venue) -> None:
    assert (await venue.world.get("/topics/nothing"))[0] == 404
    assert (await venue.world.get("/topics/finnhub?partition=3"))[0] == 404


async def test_json_is_laid_out_without_changing_a_token() -> None:
    text = '{"data":[{"p":1.50,"v":1e-05,"s":"a,b:{\\"x\\"}"},{"p":12345678901234567890}],"e":[],"n":null,"type":"a-longer-trade"}'
    laid_out = lay_out_json(text)
    assert "".join(laid_out.replace('": ', '":').replace(", ", ",").split()) == text.replace(", ", ",")
    line = '  "data": [{"p": 1.50, "v": 1e-05, "s": "a,b:{\\"x\\"}"}, {"p": 12345678901234567890}],'
    assert laid_out.splitlines()[1] == line


@pytest.mark.parametrize(
    ("value", "kind", "cut"),
    [(b"", "text", False), (b"plain\x00", "text", False), (b"[1]", "JSON", False), (b"\xff" * 600, "bytes", True),
     (b"[" * 30_000, "text", True), ("é".encode() * 40_000, "text", True), (b'"' + b"a" * 9_000 + b'"', "JSON", True)],
)  # fmt: skip
async def test_every_frame_has_a_bounded_readable_form(value: bytes, kind: str, cut: bool) -> None:
    readable = make_readable(value)
    assert (readable.kind, readable.cut, readable.size) == (kind, cut, len(value))
    assert len(readable.text) <= 8_000
    assert "\0" not in readable.text
