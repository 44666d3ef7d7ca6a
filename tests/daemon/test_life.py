"""The daemon's life as systemd sees it: ready, alive, told to stop, ended."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from tests.clients.publisher_server import reply, silence
from tests.daemon.place import Place
from tests.daemon.publisher import INDEX_PATH, half_month, index
from tests.polling import until


@contextlib.contextmanager
def systemd_at(path: Path) -> Iterator[socket.socket]:
    """Systemd's end of the notify socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(path))
        end.setblocking(False)
        yield end


async def receive(end: socket.socket, messages: list[str], key: str, *, times: int = 1) -> None:
    """Receive datagrams until the key came that many times."""
    loop, fresh = asyncio.get_running_loop(), 0
    async with asyncio.timeout(30):
        while fresh < times:
            message = (await loop.sock_recv(end, 4096)).decode()
            messages.append(message)
            fresh += key in message.split("\n")


async def test_systemd_is_notified_of_ready_alive_and_stopping(place: Place) -> None:
    messages: list[str] = []
    with systemd_at(place.folder / "notify") as end:
        env = {"NOTIFY_SOCKET": str(place.folder / "notify"), "WATCHDOG_USEC": "400000"}
        async with place.start(env=env) as daemon:
            await receive(end, messages, "READY=1")
            assert (await daemon.get("/readyz")).status == 200
            await receive(end, messages, "WATCHDOG=1", times=5)
            assert any(re.search(r"^STATUS=\d+ flows at work$", message, re.MULTILINE) for message in messages)
            daemon.send(signal.SIGTERM)
            await receive(end, messages, "STOPPING=1")
            assert await daemon.ended() == 0


async def test_sigterm_at_rest_ends_it_with_0_and_leaves_no_process_and_no_secret(place: Place) -> None:
    async with place.ready() as daemon:
        engine = daemon.engine_pid()
        assert (place.state / "daemon.json").stat().st_mode & 0o777 == 0o600
        assert await daemon.stop() == 0
        assert daemon.find_events("daemon stopped")
        await until(lambda: not Path(f"/proc/{engine}").exists(), "the engine is gone")
    assert not (place.state / "daemon.json").exists()


async def test_sigterm_during_a_load_ends_it_with_0_and_the_next_start_finishes(place: Place) -> None:
    place.show(half_month(0, 150_000), half_month(1, 1_500))
    async with place.ready() as daemon:
        await until(lambda: place.ledger("SELECT 1 FROM loads WHERE rows = '{}' AND covers = '2010/01/a'"), "a load")
        assert await daemon.stop() == 0
        assert not daemon.find_events("flow failed")
    assert not place.ledger("SELECT * FROM loads WHERE state IN ('loading', 'publishing')")
    async with place.ready():
        await place.wait_until_visible()
    assert [row[0] for row in place.ledger("PRAGMA integrity_check")] == ["ok"]


async def test_sigterm_while_a_publisher_does_not_answer_does_not_wait_for_it(place: Place) -> None:
    place.show(half_month(0))
    place.server.script(half_month(0).path, silence(b"PK", of=1_000_000))
    async with place.ready() as daemon:
        await until(
            lambda: any(request.path.endswith(".zip") for request in place.server.requests), "the document is asked for"
        )
        assert await daemon.stop() == 0


async def test_sigterm_again_and_again_ends_it_with_0_all_the_same(place: Place) -> None:
    place.show(half_month(0, 100_000))
    async with place.ready() as daemon:
        while daemon.process.returncode is None:
            daemon.send(signal.SIGTERM)
            await asyncio.sleep(0.02)
        assert await daemon.ended() == 0
        assert daemon.find_events("daemon stopped")


async def test_sigterm_while_it_starts_ends_it_with_0(place: Place) -> None:
    async with place.start() as daemon:
        await daemon.wait_for("daemon started")
        assert await daemon.stop() == 0


@pytest.mark.slow
async def test_sigterm_during_a_slow_download_ends_it_within_10_seconds(place: Place) -> None:
    place.show(half_month(0, 100_000))
    async with place.ready() as daemon:
        await place.wait_until_visible()
        async with daemon.session.get(daemon.web + "/data/sec_ftd.csv") as answer:  # and never read to its end
            assert answer.status == 200
            assert await daemon.stop() == 0


BROKEN = '''"""constructed: a source whose author made a mistake."""

from dataclasses import replace

from spotlightd.sources import sec_ftd


async def discover(pages):
    raise ZeroDivisionError("constructed mistake")
    yield


source = replace(sec_ftd.source, name="broken", discover=discover, contact_required=False)
'''


async def test_a_source_that_fails_is_started_again_with_pauses_and_holds_up_no_other(place: Place) -> None:
    (place.state / "sources" / "broken.py").write_text(BROKEN)
    place.show(half_month(0))
    async with place.ready(schedule={"sources": ["broken", "fast_ftd"]}) as daemon:
        await daemon.wait_for("flow failed", flow="collect broken", times=3)
        await place.wait_until_visible()

        async def is_failed() -> bool:
            return bool((await daemon.flow("collect broken"))["state"] == "failed")

        await until(is_failed, "the flow is shown as failed")
        flow = await daemon.flow("collect broken")
        assert flow["restarts"] >= 3
        assert flow["error"] == "a bug in spotlightd: ZeroDivisionError: constructed mistake"
        assert "ZeroDivisionError: constructed mistake" in (await daemon.get("/status")).text
        assert (await daemon.get("/readyz")).status == 200
        times = [datetime.fromisoformat(event["timestamp"]) for event in daemon.find_events("flow failed")]
        pauses = [(later - sooner).total_seconds() for sooner, later in pairwise(times)]
        assert pauses[1] > pauses[0] > 0.4
        assert await daemon.stop() == 0


async def test_an_index_that_is_not_available_is_requested_again_and_then_all_is_loaded(place: Place) -> None:
    place.show(half_month(0))
    place.server.script(INDEX_PATH, reply(500), reply(500), index([half_month(0).path]))
    async with place.ready() as daemon:
        await daemon.wait_for("flow failed", flow="collect fast_ftd")
        await place.wait_until_visible()
        error = daemon.find_events("source failed")[0]["error"]
        assert error.startswith("www.sec.gov answered 500 Internal Server Error to https://www.sec.gov/data-research/")
        assert error.endswith("; tried 2 times")


async def test_a_vital_flow_that_fails_ends_the_process_so_that_systemd_starts_it_anew(place: Place) -> None:
    """A record whose time is beyond all calendars cannot be copied; nothing in the ledger could write it."""
    async with place.ready() as daemon:
        with closing(sqlite3.connect(place.state / "ledger.sqlite", timeout=10)) as ledger, ledger:
            ledger.execute("INSERT INTO runs VALUES (NULL, 1 << 62, 'x', 'x', '', 'failed', '', 0, 0, 0, 0.0, '')")
        assert await daemon.ended(seconds=30) == 1
        assert daemon.find_events("flow failed", flow="bookkeeping")
