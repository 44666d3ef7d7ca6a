"""A stream decoded by Python is drained, recovered and replayed like one decoded by the engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

import pytest

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.model.bus import Frame, pack_key, source_mark
from spotlightd.ports.progress import ignore_progress, to_checkpoint
from spotlightd.settings.sources import ParserSettings
from spotlightd.workers.parser import ChildParser
from tests.sources import constructed_stream
from tests.sources.constructed_stream import packed as ticks_packed
from tests.sources.constructed_stream import source

from .constructed_ticks import MIDNIGHT
from .stream_world import StreamWorld
from .world import CrashError, Fuse


@pytest.fixture
async def streams(tmp_path: Path, warehouse: ClickHouse) -> AsyncIterator[StreamWorld]:
    places = {source.name: str(Path(str(constructed_stream.__file__)).resolve())}
    async with ChildParser(ParserSettings(), places) as parser:
        world = StreamWorld(tmp_path, warehouse, parser)
        await world.prepare(source)
        yield world


async def send(world: StreamWorld, values: list[bytes], first: int = 0) -> None:
    frames = [Frame(5, first + at, MIDNIGHT + at, value) for at, value in enumerate(values)]
    await world.bus.append(source.name, 0, [pack_key(source_mark(source.name), frame) for frame in frames], values)


async def counted(world: StreamWorld) -> tuple[int, int]:
    sql = f"SELECT count(), uniqExact(offset, frame_index) FROM {source.dataset.name} WHERE load_id NOT IN"
    rows = (await world.warehouse.rows(f"{sql} (SELECT arrayJoin(supersedes) FROM loads)")).rows[0]
    return int(rows[0]), int(rows[1])


async def test_frames_are_decoded_once_rejects_are_named_and_a_replay_gives_the_same(streams: StreamWorld) -> None:
    good = ticks_packed(("AAPL", 1_000_000, 1.5), ("AAPL", 2_000_000, 2.5))
    await send(streams, [good, b"x", good, good])
    await streams.drain(source)
    assert await counted(streams) == (6, 6)

    async with streams.stores() as stores:
        lost = await stores.ledger.run("SELECT offset, reason FROM lost_frames")
        assert [tuple(loss) for loss in lost] == [(1, "too short for a count")]
        done = await stores.replay(source).replay_days(
            date(2026, 3, 2), date(2026, 3, 2), to_checkpoint(ignore_progress)
        )
    assert [(load.rows, load.rejects) for load in done] == [(6, 1)]
    assert await counted(streams) == (6, 6)


async def test_a_crash_in_a_batch_loses_and_doubles_nothing(streams: StreamWorld) -> None:
    good = ticks_packed(("AAPL", 1_000_000, 1.5), ("AAPL", 2_000_000, 2.5))
    for turn, step in enumerate((9, 10, 11, 12, 13, 14, 15)):
        await send(streams, [good, good], first=2 * turn)
        with pytest.raises(CrashError):
            await streams.drain(source, Fuse(crash_step=step))
    await streams.drain(source)
    assert await counted(streams) == (28, 28)
