"""An engine that lives but does not answer is ended and started again; at a stop nobody waits for it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.engine import service
from spotlightd.engine.configuration import Configuration
from spotlightd.engine.host.probe import WHILE_RUNNING, WHILE_STOPPING, Probing, wait_until_deaf
from spotlightd.engine.process import STOP_SECONDS, Engine
from spotlightd.errors import StoreError
from tests.polling import until

from .world import client_of, engine_on

IMPATIENT = Probing(pause_seconds=0.1, answer_seconds=2.0, misses=2)
RESTART_SECONDS = 30.0


@asynccontextmanager
async def server(answers: list[bytes | None]) -> AsyncIterator[tuple[str, int]]:
    """A server that answers each connection with the next of these, the last for ever; None is silence."""

    at_work = set[asyncio.Task[None] | None]()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at_work.add(asyncio.current_task())
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer is not None:
            writer.write(answer)
        await reader.read()
        writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()
    if handlers := [task for task in at_work if task]:
        await asyncio.wait(handlers, timeout=10)


@pytest.mark.parametrize("answer", [None, b"", b"HTTP/1.1 500 Internal Server Error\r\n\r\n"])
async def test_a_server_without_a_good_answer_is_deaf(answer: bytes | None) -> None:
    async with asyncio.timeout(10), server([answer]) as address:
        await wait_until_deaf(address, Probing(0.0, 0.05, 3))


async def test_a_server_that_is_gone_is_deaf() -> None:
    async with server([None]) as address:
        pass
    async with asyncio.timeout(10):
        await wait_until_deaf(address, Probing(0.0, 0.05, 3))


async def test_one_missed_answer_is_forgiven() -> None:
    """The whole machine may have been asleep."""
    good = b"HTTP/1.1 200 OK\r\n\r\n"
    async with server([None, None, good, None, None, good]) as address:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await wait_until_deaf(address, Probing(0.0, 0.05, 3))


def test_a_deaf_engine_is_found_well_within_half_a_minute() -> None:
    assert WHILE_RUNNING.pause_seconds + WHILE_RUNNING.silent_seconds < RESTART_SECONDS - 10
    assert WHILE_STOPPING.pause_seconds + WHILE_STOPPING.silent_seconds < STOP_SECONDS


async def test_the_ping_asks_the_engine_itself_and_all_who_ask_share_one_statement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release, asked = threading.Event(), []

    class HangingHandles:
        def __init__(self, _: object) -> None: ...

        def ping(self) -> None:
            asked.append(1)
            release.wait(30)

    monkeypatch.setattr(service, "Handles", HangingHandles)
    configuration = cast("Configuration", type("Constructed", (), {"readers": 1, "writers": 1, "download_slots": 1}))
    engine = service.Service(configuration)
    pings = [asyncio.create_task(engine.ping()) for _ in range(20)]
    done, _ = await asyncio.wait(pings, timeout=0.2)
    assert not done
    release.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*pings)
    assert asked == [1]


async def is_answering(warehouse: ClickHouse) -> bool:
    try:
        await warehouse.ping()
    except StoreError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGSEGV, signal.SIGABRT])
async def test_an_engine_that_is_stopped_or_crashes_is_started_anew(tmp_path: Path, number: int) -> None:
    events: list[str] = []
    log: Any = lambda event, **_: events.append(event)  # noqa: E731
    async with engine_on(tmp_path, probing=IMPATIENT, on_event=log) as engine, client_of(engine) as warehouse:
        pid = engine.pid
        os.kill(pid, number)

        async def is_new() -> bool:
            return engine.restarts >= 1 and engine.pid not in {0, pid} and await is_answering(warehouse)

        await until(is_new, "another engine answers", seconds=4 * RESTART_SECONDS)  # a start is slow on a busy machine
        assert not Path(f"/proc/{pid}").exists()
    assert ("engine hung" in events) or number != signal.SIGSTOP


async def test_a_busy_engine_is_not_taken_for_deaf(tmp_path: Path) -> None:
    """All places for queries are taken: the ping has a thread of its own."""
    async with engine_on(tmp_path, probing=IMPATIENT, readers=2) as engine, client_of(engine) as warehouse:
        queries = [
            asyncio.create_task(warehouse.rows(f"SELECT sum(sleepEachRow(0.01)), {number} FROM numbers(250)"))
            for number in range(3)
        ]
        await asyncio.wait(queries)
        assert engine.restarts == 0


async def test_a_stopped_engine_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    """Statements that wait for it fail at once, and no new one waits for a restart."""
    async with engine_on(tmp_path) as engine, client_of(engine) as warehouse:
        pid = engine.pid
        os.kill(pid, signal.SIGSTOP)
        waiting = asyncio.create_task(warehouse.rows("SELECT 1"))
        began = time.monotonic()
        engine.begin_stop()
        with pytest.raises(StoreError):
            await waiting
        with pytest.raises(StoreError):
            await warehouse.rows("SELECT 2")
        assert time.monotonic() - began < STOP_SECONDS
    assert not Path(f"/proc/{pid}").exists()


async def test_an_engine_that_answers_finishes_its_work_at_a_stop(tmp_path: Path) -> None:
    async with engine_on(tmp_path) as engine, client_of(engine) as warehouse:
        engine.begin_stop()
        assert (await warehouse.rows("SELECT 1")).rows == ((1,),)
        assert engine.pid


async def test_an_engine_that_died_before_the_stop_stays_down(tmp_path: Path) -> None:
    engine: Engine
    async with engine_on(tmp_path) as engine, client_of(engine) as warehouse:
        os.kill(engine.pid, signal.SIGKILL)
        engine.begin_stop()
        with pytest.raises(StoreError):
            await warehouse.rows("SELECT 1")
