"""The real daemon as a process: started from a settings file, observed, queried, stopped or killed; always ended.

Nothing waits for a fixed time. What is expected is polled until a deadline, and a failure prints the daemon's log.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from tests.polling import WAIT_SECONDS, until

# However full the disk of this machine is, nothing is held, and no ballast is created.
NO_MARKS = {
    "warn_percent": 99.6, "batch_percent": 99.7, "sink_percent": 99.8, "ballast_percent": 99.9,
    "hysteresis_percent": 0.05, "ballast_bytes": 0, "every_seconds": 0.5,
}  # fmt: skip
COMMAND = (sys.executable, "-m", "spotlightd")


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    text: str
    seconds: float = 0.0

    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Daemon:
    """A daemon that was started. `events` are its lines of JSON, `other_lines` all others."""

    process: asyncio.subprocess.Process
    session: aiohttp.ClientSession
    events: list[dict[str, Any]] = field(default_factory=list)
    other_lines: list[str] = field(default_factory=list)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def web(self) -> str:
        return str(self.find_events("daemon ready")[-1]["web"])

    def find_events(self, event: str, **facts: Any) -> list[dict[str, Any]]:
        """The events of that name with these fields."""
        return [line for line in self.events if line["event"] == event and facts.items() <= line.items()]

    async def wait_for(self, event: str, *, times: int = 1, seconds: float = WAIT_SECONDS, **facts: Any) -> Any:
        """Wait until the event was logged that many times; the last one."""

        def matching() -> list[dict[str, Any]]:
            events = self.find_events(event, **facts)
            has_ended = self.process.returncode is not None
            assert not (has_ended and len(events) < times), f"it ended ({self.process.returncode}): {self.describe()}"
            return events if len(events) >= times else []

        try:
            return (await until(matching, f"{event} {facts}", seconds=seconds))[-1]
        except AssertionError as late:
            raise AssertionError(f"{late}: {self.describe()}") from None

    def describe(self) -> str:
        lines = [
            str({name: fact for name, fact in line.items() if name not in _LEFT_OUT}) for line in self.events[-40:]
        ]
        return "\n  ".join(["the daemon logged:", *lines, *self.other_lines[-40:]])

    async def ready(self) -> Daemon:
        """Wait until readers can be answered and no part is degraded."""
        await self.wait_for("daemon ready")
        await until(self.is_ready, "/readyz says that all is well")
        return self

    async def is_ready(self) -> bool:
        """Whether readers can be answered and no part is degraded."""
        answer = await self.get("/readyz")
        return (answer.status, answer.text) == (200, "ready\n")

    async def is_degraded(self, because: str) -> bool:
        """Whether /readyz names a degraded part with that word. Its status says only whether readers are answered."""
        answer = await self.get("/readyz")
        return any(line.startswith("degraded: ") and because in line for line in answer.text.splitlines())

    async def get(self, path: str, *, seconds: float = WAIT_SECONDS) -> Answer:
        """A page, read to its end within that time."""
        await self.wait_for("daemon ready")
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with self.session.get(self.web + path, timeout=aiohttp.ClientTimeout(total=seconds)) as answer:
            return Answer(answer.status, await answer.text(), loop.time() - began)

    async def status(self) -> Any:
        answer = await self.get("/status.json")
        assert answer.status == 200, answer.text
        return answer.json()

    async def flow(self, name: str) -> Any:
        return next(flow for flow in (await self.status())["state"]["flows"] if flow["name"] == name)

    def engine_pid(self) -> int:
        """The process of the running engine; 0 while none runs."""
        with contextlib.suppress(psutil.NoSuchProcess):
            children = {child.pid for child in psutil.Process(self.pid).children()}
            return next(
                (event["pid"] for event in reversed(self.find_events("engine ready")) if event["pid"] in children), 0
            )
        return 0

    def memory(self) -> int:
        """Resident bytes of the daemon itself, engine and parser apart."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def send(self, number: int) -> None:
        """With os.kill: the process object polls the process first, may see its end before asyncio does, and give status 255."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def ended(self, *, seconds: float = 10.0) -> int:
        """Its exit status. AssertionError when it does not end in time."""
        try:
            async with asyncio.timeout(seconds):
                return await self.process.wait()
        except TimeoutError:
            raise AssertionError(f"it has not ended within {seconds:g} s: {self.describe()}") from None

    async def stop(self) -> int:
        """Send SIGTERM; its exit status. Every line that it logged must have been an event."""
        self.send(signal.SIGTERM)
        status = await self.ended()
        assert not self.other_lines, "\n".join(self.other_lines)
        return status

    async def kill(self) -> None:
        """Kill it, as a power cut would."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()

    async def listen(self) -> None:
        """Collect its log, line by line."""
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            text = line.decode(errors="replace").rstrip("\n")
            try:
                self.events.append(json.loads(text))
            except ValueError:
                self.other_lines.append(text)


_LEFT_OUT = frozenset({"timestamp", "level", "url"})


@asynccontextmanager
async def start(
    config: Path, *more: str, env: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
) -> AsyncIterator[Daemon]:
    """A daemon while the block runs, ready or not; killed at the end of the block if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *prefix, *COMMAND, "run", "--config", str(config), *more,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        env=clean_environment() | dict(env or {}), limit=1 << 22,
    )  # fmt: skip
    async with aiohttp.ClientSession() as session:
        daemon = Daemon(process, session)
        listening = asyncio.create_task(daemon.listen())
        try:
            yield daemon
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)
                    process.kill()
                await process.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(listening, 10)


@asynccontextmanager
async def ready(config: Path, *more: str, **how: Any) -> AsyncIterator[Daemon]:
    """A daemon that is ready."""
    async with start(config, *more, **how) as daemon:
        yield await daemon.ready()


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.out, f"status {self.status}: {self.err}"
        return json.loads(self.out)


async def command(*words: str, seconds: float = 60.0, prefix: Sequence[str] = ()) -> Done:
    """Run one command to its end; it is killed when it takes longer."""
    process = await asyncio.create_subprocess_exec(
        *prefix, *COMMAND, *words,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=clean_environment(),
    )  # fmt: skip
    try:
        async with asyncio.timeout(seconds):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Done(process.returncode or 0, out.decode(), err.decode())


def clean_environment() -> dict[str, str]:
    """Our environment, without the variables that systemd may have set for the test run."""
    return {name: text for name, text in os.environ.items() if name not in {"NOTIFY_SOCKET", "WATCHDOG_USEC"}}


def settings_file(folder: Path, at: str, **sections: Any) -> Path:
    """A settings file for a daemon whose publisher is at that address: short time-outs, a free port."""
    settings: dict[str, Any] = {
        "state_dir": str(folder / "state"),
        "publisher": {"attempts": 2, "backoff_seconds": 0.05, "connect_seconds": 5.0, "stall_seconds": 10.0},
        "web": {"port": 0},
        "metrics": {"port": 0},
        "log": {"format": "json", "level": "info"},
        "schedule": {"sources": ["fast_ftd"]},
        "disk": NO_MARKS,
    }
    for name, values in sections.items():
        settings[name] = {**settings.get(name, {}), **values} if isinstance(values, Mapping) else values
    settings["publisher"] = {**settings["publisher"], "mirrors": {"www.sec.gov": at}}
    path = folder / "spotlightd.toml"
    path.write_text(_to_toml(settings), encoding="utf-8")
    return path


def _to_toml(settings: Mapping[str, Any], prefix: str = "") -> str:
    plain = {name: value for name, value in settings.items() if not isinstance(value, Mapping)}
    lines = [f"{json.dumps(name)} = {_render_value(value)}" for name, value in plain.items()]
    for name, value in settings.items():
        if isinstance(value, Mapping):
            section = f"{prefix}{json.dumps(name)}"
            lines += [f"[{section}]", _to_toml(value, f"{section}.")]
    return "\n".join(lines)


def _render_value(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else json.dumps(value)
