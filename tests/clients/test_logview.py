"""A command beside the daemon reads the daemon's log as it grows, and cannot change it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from time import time_ns

import pytest

from spotlightd import StoreError
from spotlightd.clients.locallog.bus import LocalLog
from spotlightd.clients.locallog.view import LogView
from spotlightd.errors import OffsetError
from spotlightd.model.bus import Ends, Frame, Topic, pack_key, source_mark
from spotlightd.ports.bus import Bus

WAIT_SECONDS = 20.0
TICKS = Topic("ticks")


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[LocalLog]:
    async with LocalLog(tmp_path / "bus.sqlite") as opened:
        await opened.ensure(TICKS)
        yield opened


async def append(log: LocalLog, values: list[bytes], *, first: int = 0) -> None:
    keys = [pack_key(source_mark("ticks"), Frame(7, first + index, time_ns(), b"")) for index in range(len(values))]
    await log.append("ticks", 0, keys, values)


async def test_another_process_reads_new_records_and_changes_nothing(log: LocalLog) -> None:
    await append(log, [b"a", b"b"])
    view: Bus
    async with LogView(log.path) as view:
        assert await view.log_id("ticks") == await log.log_id("ticks")
        assert await view.ends("ticks") == {0: Ends(0, 2)}
        async with view.open_reader("ticks", 0, 1) as reader:
            assert (await reader.next(frames=1, size=1 << 20, seconds=0)).values == [b"b"]
            waiting = asyncio.create_task(reader.next(frames=1, size=1 << 20, seconds=0, idle_seconds=WAIT_SECONDS))
            await append(log, [b"c"], first=2)
            assert (await waiting).values == [b"c"]
            assert (await view.peek("ticks", 0, 0, most=2)).values == [b"a", b"b"]
            for write in (view.append("ticks", 0, [], []), view.ensure(TICKS), view.commit("ticks", 0, 1)):
                with pytest.raises(StoreError, match="read-only"):
                    await write
            await log.delete("ticks")
            with pytest.raises(OffsetError, match="created again"):
                await reader.next(frames=1, size=1 << 20, seconds=0, idle_seconds=WAIT_SECONDS)
            with pytest.raises(StoreError, match="no topic"):
                await view.ends("ticks")


async def test_what_is_appended_while_a_view_reads_is_read_after_its_next_look(
    log: LocalLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spotlightd.clients.locallog.view.POLL_SECONDS", 3600.0)
    await append(log, [b"a", b"b"])
    async with LogView(log.path) as view, view.open_reader("ticks", 0, 0) as reader:
        await append(log, [b"c", b"d"], first=2)
        for expected in ([b"a", b"b"], []):
            assert (await reader.next(frames=10, size=1 << 20, seconds=0, idle_seconds=0)).values == expected
        assert await view.ends("ticks") == {0: Ends(0, 4)}
        assert (await reader.next(frames=10, size=1 << 20, seconds=0, idle_seconds=0)).values == [b"c", b"d"]


async def test_a_view_needs_no_daemon_but_a_file(tmp_path: Path) -> None:
    path = tmp_path / "bus.sqlite"
    with pytest.raises(StoreError, match="there is no log"):
        await LogView(path).__aenter__()
    async with LocalLog(path) as log:
        await log.ensure(TICKS)
        await append(log, [b"a"])
    async with LogView(path) as view:
        assert (await view.peek("ticks", 0, 0, most=2)).values == [b"a"]
