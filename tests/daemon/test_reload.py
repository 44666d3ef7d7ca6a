"""SIGHUP: the daemon reloads what can be reloaded, says what cannot, and never ends on it."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spotlightd import log
from spotlightd.runtime.reload import reload_signal
from spotlightd.settings.load import load_settings
from tests.daemon.place import Place
from tests.polling import until


@pytest.fixture
def events() -> Iterator[list[dict[str, Any]]]:
    logged: list[dict[str, Any]] = []
    log.configure("info", "json", io.StringIO())
    with log.forward_events(lambda event: logged.append(dict(event))):
        yield logged


async def hang_up(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Send SIGHUP to this process; the event that follows."""
    known = len(events)
    os.kill(os.getpid(), signal.SIGHUP)
    await until(lambda: len(events) > known, "an event")
    return events[-1]


def write(folder: Path, level: str, more: str = "") -> Path:
    path = folder / "spotlightd.toml"
    path.write_text(f"state_dir = '{folder / 'state'}'\n[log]\nlevel = '{level}'\n{more}")
    return path


async def test_the_level_of_the_log_is_taken_over_by_loggers_that_exist(
    tmp_path: Path, events: list[dict[str, Any]]
) -> None:
    path = write(tmp_path, "info")
    logger = log.logger(flow="watchdog")
    logger.debug("flow started")
    assert events == []
    with reload_signal(load_settings(path), lambda: load_settings(path)):
        write(tmp_path, "debug")
        event = await hang_up(events)
        assert (event["event"], event["log_level"], event["need_restart"]) == ("settings reloaded", "debug", [])
        logger.debug("flow started")
        assert events[-1]["event"] == "flow started"
        write(tmp_path, "error")
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: not logs_warnings(events), "warnings are left out")


def logs_warnings(events: list[dict[str, Any]]) -> bool:
    known = len(events)
    log.logger().warning("flow stopped")
    return len(events) > known


async def test_what_needs_a_restart_is_named(tmp_path: Path, events: list[dict[str, Any]]) -> None:
    path = write(tmp_path, "info")
    sources = tmp_path / "state" / "sources"
    sources.mkdir(parents=True)
    with reload_signal(load_settings(path), lambda: load_settings(path)):
        write(tmp_path, "info", "[publisher]\ncontact = 'you@example.org'\n[web]\nport = 8081\n")
        (sources / "mine.py").write_text('"""A source that is still empty."""\n')
        event = await hang_up(events)
        assert event["need_restart"] == sorted([str(sources / "mine.py"), "publisher.contact", "web.port"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[publisher]\nkontact = 'x'\n", "unknown setting publisher.kontact"),
        ("[streams]\nenabled = ['finhub']\n", "names no stream: 'finhub'"),
        ("[web]\nhost = '0.0.0.0'\n", "can be reached from other machines"),
        ("[web\n", "is not TOML"),
    ],
)
async def test_a_mistake_leaves_everything_as_it_was(
    tmp_path: Path, events: list[dict[str, Any]], text: str, reason: str
) -> None:
    path = write(tmp_path, "info")
    with reload_signal(load_settings(path), lambda: load_settings(path)):
        write(tmp_path, "debug", text)
        event = await hang_up(events)
        assert event["event"] == "reload refused"
        assert reason in event["error"]
        log.logger().debug("flow started")
        assert events[-1] == event


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 / 0\n", "mine.py cannot be loaded: ZeroDivisionError"),
        ("import sys\nsys.exit('needs lxml')\n", "mine.py cannot be loaded: SystemExit: needs lxml"),
    ],
)
async def test_one_bad_source_leaves_everything_as_it_was(
    tmp_path: Path, events: list[dict[str, Any]], text: str, reason: str
) -> None:
    path = write(tmp_path, "info")
    sources = tmp_path / "state" / "sources"
    sources.mkdir(parents=True)
    with reload_signal(load_settings(path), lambda: load_settings(path)):
        (sources / "mine.py").write_text(text)
        event = await hang_up(events)
        assert event["event"] == "reload refused"
        assert reason in event["error"]


async def test_a_file_that_takes_long_to_read_keeps_nobody_waiting(
    tmp_path: Path, events: list[dict[str, Any]]
) -> None:
    """A settings file that has become a pipe: reading it ends when somebody writes."""
    path = write(tmp_path, "info")
    with reload_signal(load_settings(path), lambda: load_settings(path)):
        path.unlink()
        os.mkfifo(path)
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0)
        assert "is still being read" in (await hang_up(events))["error"]
        await asyncio.to_thread(path.write_text, "[log]\nlevel = 'nonsense'\n")
        await until(lambda: "log.level" in events[-1].get("error", ""), "the file is read at last")


async def test_what_cannot_reload_says_so(tmp_path: Path, events: list[dict[str, Any]]) -> None:
    """As the demo, whose settings are no file's. After the block the signal is ignored."""
    with reload_signal(load_settings(write(tmp_path, "info"))):
        assert (await hang_up(events))["event"] == "reload refused"
    os.kill(os.getpid(), signal.SIGHUP)


async def test_the_daemon_never_ends_on_it(place: Place) -> None:
    """While it starts, while it works, with a settings file that is wrong, and while it stops."""
    async with place.start() as daemon:
        await daemon.wait_for("daemon started")
        daemon.send(signal.SIGHUP)
        await daemon.ready()
        place.settings(log={"level": "debug"})
        daemon.send(signal.SIGHUP)
        await daemon.wait_for("settings reloaded", log_level="debug")
        await daemon.get("/healthz")
        await daemon.wait_for("request served", path="/healthz")
        (place.folder / "spotlightd.toml").write_text("[web\n")
        daemon.send(signal.SIGHUP)
        assert "is not TOML" in (await daemon.wait_for("reload refused"))["error"]
        assert (await daemon.get("/readyz")).status == 200
        daemon.send(signal.SIGTERM)
        while daemon.process.returncode is None:
            daemon.send(signal.SIGHUP)
            await asyncio.sleep(0.02)
        assert await daemon.ended() == 0
