"""The engine's process is restarted when it dies, and ends when the daemon ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.clients.clickhouse.values import encode_block
from spotlightd.engine.lock import state_lock
from spotlightd.engine.process import Engine
from spotlightd.errors import StoreError
from spotlightd.settings.stores import EngineSettings
from tests.polling import until

from .world import client_of, constructed, engine_on, wait_until_running

PARENT = """
import asyncio, sys
from pathlib import Path
from spotlightd.engine.lock import state_lock
from spotlightd.engine.process import Engine
from spotlightd.settings.stores import EngineSettings as Settings

async def main():
    with state_lock(Path(sys.argv[1])) as held:
        async with Engine(held, Settings(), on_event=lambda *a, **k: None) as engine:
            print(engine.pid, flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except FileNotFoundError:
        return False


async def wait_for_restart(engine: Engine, times: int) -> None:
    async def again() -> bool:
        return engine.restarts >= times and engine.pid != 0

    await until(again, f"the engine was started again, {times} times in all", seconds=30)


async def insert_rows(warehouse: ClickHouse, load_id: int, rows: int) -> bool:
    """One insert; whether it was acknowledged."""
    dataset = constructed("kept")
    try:
        await warehouse.insert(
            dataset, [[number, "x" * 50, load_id, 0, 1] for number in range(rows)], token=f"t{load_id}"
        )
    except StoreError:
        return False
    return True


async def test_killed_during_inserts_it_comes_back_with_every_acknowledged_row(tmp_path: Path) -> None:
    async with engine_on(tmp_path) as engine, client_of(engine, query_seconds=30.0) as warehouse:
        await warehouse.ensure(constructed("kept"))
        url, acknowledged_loads, load_id = engine.url, [], 0
        for kill in range(1, 4):

            async def kill_soon(pause: float = 0.1 * kill) -> None:
                await asyncio.sleep(pause)
                os.kill(engine.pid, signal.SIGKILL)

            killing = asyncio.create_task(kill_soon())
            failed = False
            while not failed:
                load_id += 1
                failed = not await insert_rows(warehouse, load_id, 2000)
                if not failed:
                    acknowledged_loads.append(load_id)
            await killing
            await wait_for_restart(engine, kill)
        assert engine.url == url
        rows_by_load = dict((await warehouse.rows("SELECT load_id, count() FROM kept GROUP BY load_id")).rows)
        assert {load_id: rows_by_load.get(load_id) for load_id in acknowledged_loads} == dict.fromkeys(
            acknowledged_loads, 2000
        )
        assert set(rows_by_load.values()) == {2000}


async def test_killed_during_a_query_the_query_fails_and_the_next_one_is_answered(tmp_path: Path) -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    with state_lock(tmp_path) as state:
        settings = EngineSettings(memory_bytes=2 << 30)
        log_event = lambda event, **fields: events.append((event, fields))  # noqa: E731
        async with Engine(state, settings, on_event=log_event) as engine, client_of(engine) as warehouse:
            async with contextlib.AsyncExitStack() as stack:
                sql = "SELECT number, repeat('x', 100) FROM numbers(100000000)"
                chunks = await stack.enter_async_context(warehouse.stream(sql, "CSVWithNames"))
                await anext(chunks)
                long = asyncio.create_task(
                    warehouse.rows("SELECT throwIf(sleepEachRow(0.01) = 1) FROM numbers(100000)")
                )
                await asyncio.sleep(0)
                os.kill(engine.pid, signal.SIGKILL)
                with pytest.raises(StoreError, match="broke off"):
                    async for _ in chunks:
                        pass
            assert (await warehouse.rows("SELECT 1")).rows == ((1,),)
            await wait_for_restart(engine, 1)
            long.cancel()
            with contextlib.suppress(StoreError, asyncio.CancelledError):
                await long
    names = [event for event, _ in events]
    assert names == [
        "engine started", "engine ready", "engine died", "engine started", "engine ready", "engine restarted", "engine stopped",
    ]  # fmt: skip
    assert dict(events)["engine died"]["status"] == -signal.SIGKILL


async def test_a_torn_insert_is_completed_by_its_repeat(tmp_path: Path) -> None:
    dataset = constructed("torn")
    stream = encode_block(dataset, [[number, "x", 1, 0, 1] for number in range(50_000)])
    async with engine_on(tmp_path) as engine, client_of(engine) as warehouse:
        await warehouse.ensure(dataset)

        async def slowly() -> AsyncIterator[bytes]:
            yield stream[: len(stream) // 2]
            os.kill(engine.pid, signal.SIGKILL)
            await wait_for_restart(engine, 1)
            yield stream[len(stream) // 2 :]

        with pytest.raises(StoreError):
            await warehouse.insert_stream(dataset, slowly(), token="one")
        await wait_for_restart(engine, 1)
        for _ in range(2):

            async def again() -> AsyncIterator[bytes]:
                yield stream

            await warehouse.insert_stream(dataset, again(), token="one")
        assert (await warehouse.rows("SELECT count() FROM torn")).rows == ((50_000,),)


async def test_when_the_daemon_is_killed_the_engine_ends_at_once_and_the_folder_is_free(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert alive(pid)
    parent.kill()
    parent.wait(timeout=10)
    parent.stdout.close()

    async def has_ended() -> bool:
        return not alive(pid)

    await until(has_ended, "the engine died with its daemon", seconds=5)
    async with engine_on(tmp_path) as engine:
        assert engine.pid not in {0, pid}


async def test_an_engine_that_cannot_start_reports_the_reason(tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "data").write_text("in the way")
    with state_lock(tmp_path) as state, pytest.raises(StoreError, match=r"(?s)did not start.*FileExistsError"):
        async with Engine(state, EngineSettings(start_seconds=20), on_event=lambda *_, **__: None):
            pass


async def test_it_stops_in_good_time_with_statements_running_and_leaves_no_process(tmp_path: Path) -> None:
    begun = time.monotonic()
    async with engine_on(tmp_path) as engine, client_of(engine) as warehouse:
        pid = engine.pid
        long = asyncio.create_task(warehouse.rows("SELECT sum(number), 'at_the_end' FROM numbers(10000000000000)"))
        await wait_until_running(warehouse, "at_the_end")
    assert not alive(pid)
    assert time.monotonic() - begun < 20
    with pytest.raises(StoreError):
        await long


async def test_what_was_written_is_there_after_a_restart_of_the_daemon(tmp_path: Path) -> None:
    async with engine_on(tmp_path) as engine, client_of(engine) as warehouse:
        await warehouse.ensure(constructed("kept"))
        assert await insert_rows(warehouse, 1, 10)
    async with engine_on(tmp_path) as engine, client_of(engine) as warehouse:
        assert (await warehouse.rows("SELECT count() FROM kept")).rows == ((10,),)
        assert await insert_rows(warehouse, 1, 10)
        assert (await warehouse.rows("SELECT count() FROM kept")).rows == ((10,),)


def test_the_engines_time_zone_does_not_come_from_the_environment(tmp_path: Path) -> None:
    code = PARENT.replace("print(engine.pid", "print((Path('/proc') / str(engine.pid) / 'environ').read_bytes()")
    environment = dict(os.environ) | {"TZ": "Asia/Tokyo", "SECRET_OF_THE_DAEMON": "canary"}
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert parent.stdout is not None
    environ = parent.stdout.readline()
    parent.kill()
    parent.communicate(timeout=10)
    assert "TZ=UTC" in environ
    assert "canary" not in json.dumps(environ)
