"""Topics and their newest messages, as people look at them; and what is said while the bus does not answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from spotlightd.errors import OffsetError, StoreError
from spotlightd.model.bus import Frame, mark, packed
from spotlightd.web.pages.frame import laid_out, readable
from spotlightd.web.pages.topics import MESSAGES
from tests.web.streaming import FEED, MemoryBus, Venue, stranger, streaming

pytestmark = pytest.mark.asyncio(loop_scope="session")
COUNT = 2 * MESSAGES + 5


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def venue(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Venue]:
    async with streaming(tmp_path_factory.mktemp("topics")) as one:
        began = datetime.now(UTC) - timedelta(seconds=COUNT)
        for at in range(COUNT):
            moment = began + timedelta(seconds=at)
            value = b'{"type":"ping"}' if at % 2 else f'{{"data":[{{"p":1.50,"s":"<b>{at}"}}],"type":"trade"}}'.encode()
            frame = Frame(77, at, int(moment.timestamp() * 1e9), value)
            one.bus.records[at] = (packed(mark(FEED.name), frame), value)
        one.positions.offset = COUNT - 4
        yield one


async def test_topics_tell_ends_position_and_lag(venue: Venue) -> None:
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
    seen: list[int] = []
    path = "/topics/finnhub.json"
    while path:
        _, text, _ = await venue.world.get(path)
        told = json.loads(text)
        seen += [one["offset"] for one in told["messages"]]
        path = told["older"] or ""
    assert seen == list(reversed(range(COUNT)))


async def test_a_message_is_shown_with_all_that_is_known_of_it(venue: Venue) -> None:
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
    assert text.count(">waits</mark>") == 4


async def test_records_of_others_and_bytes_are_shown_too(venue: Venue) -> None:
    odd = MemoryBus({0: stranger(b"\xff\x00<"), 1: stranger(b'{"a":' * 5000)})
    async with venue.world.served(bus=odd) as other:
        status, text, _ = await other.get("/topics/finnhub")
    assert status == 200
    assert "not written by us" in text
    assert "ff 00 3c" in text
    assert "only its beginning is shown" in text


@pytest.mark.parametrize("path", ["/topics", "/topics/finnhub", "/topics.json", "/topics/finnhub.json"])
async def test_a_bus_in_trouble_is_told_and_no_mistake_of_ours(venue: Venue, path: str) -> None:
    async with venue.world.served(bus=MemoryBus(refuses=StoreError("broker <1> is gone"))) as other:
        status, text, _ = await other.get(path)
    assert status == 200
    assert "The bus cannot answer: broker" in text
    assert "<1>" not in text or path.endswith("json")
    async with venue.world.served(bus=None, positions=None) as other:
        status, text, _ = await other.get(path)
    assert status == 200
    assert "No bus is open here" in text


async def test_messages_that_are_gone_are_told_to_be_gone(venue: Venue) -> None:
    kept = {at: one for at, one in venue.bus.records.items() if at >= 30}
    async with venue.world.served(bus=MemoryBus(kept, start=30)) as other:
        _, text, _ = await other.get("/topics/finnhub?before=10")
    assert "keeps nothing before 30 any more" in text

    class Trimmed(MemoryBus):
        async def peek(self, *_: object, **__: object) -> object:  # type: ignore[override]
            raise OffsetError("offset 0 was trimmed")

    async with venue.world.served(bus=Trimmed(dict(venue.bus.records))) as other:
        status, text, _ = await other.get("/topics/finnhub")
    assert (status, "offset 0 was trimmed" in text) == (200, True)


@pytest.mark.parametrize(
    "query", ["before=x", "before=-1", "partition=70000", "before=99999999999999999999", "offset=1"]
)
async def test_a_place_that_is_none_is_refused(venue: Venue, query: str) -> None:
    status, _, _ = await venue.world.get(f"/topics/finnhub?{query}")
    assert status == 400


async def test_what_is_not_there_is_not_found(venue: Venue) -> None:
    assert (await venue.world.get("/topics/nothing"))[0] == 404
    assert (await venue.world.get("/topics/finnhub?partition=3"))[0] == 404


async def test_json_is_laid_out_without_changing_a_token() -> None:
    text = '{"data":[{"p":1.50,"v":1e-05,"s":"a,b:{\\"x\\"}"},{"p":12345678901234567890}],"e":[],"n":null,"type":"a-longer-trade"}'
    shown = laid_out(text)
    assert "".join(shown.replace('": ', '":').replace(", ", ",").split()) == text.replace(", ", ",")
    line = '  "data": [{"p": 1.50, "v": 1e-05, "s": "a,b:{\\"x\\"}"}, {"p": 12345678901234567890}],'
    assert shown.splitlines()[1] == line


@pytest.mark.parametrize(
    ("value", "kind", "cut"),
    [(b"", "text", False), (b"plain\x00", "text", False), (b"[1]", "JSON", False), (b"\xff" * 600, "bytes", True),
     (b"[" * 30_000, "text", True), ("é".encode() * 40_000, "text", True), (b'"' + b"a" * 9_000 + b'"', "JSON", True)],
)  # fmt: skip
async def test_every_frame_has_a_bounded_readable_form(value: bytes, kind: str, cut: bool) -> None:
    one = readable(value)
    assert (one.kind, one.cut, one.size) == (kind, cut, len(value))
    assert len(one.text) <= 8_000
    assert "\0" not in one.text
