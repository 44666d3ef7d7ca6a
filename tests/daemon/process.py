"""The real daemon as a process: begun from a settings file, listened to, asked, told to stop, killed; always ended.

Nothing here waits for a fixed time: whatever is expected is polled for until a deadline, and the failure says what the
daemon told until then.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import aiohttp
import psutil

POLL_SECONDS = 0.01
PATIENCE_SECONDS = 30.0
# Whatever else lies on the disk of this machine, nothing is held, and no ballast is made.
NO_MARKS = {
    "warn_percent": 99.6, "batch_percent": 99.7, "sink_percent": 99.8, "ballast_percent": 99.9,
    "hysteresis_percent": 0.05, "ballast_bytes": 0, "every_seconds": 0.5,
}  # fmt: skip
COMMAND = (sys.executable, "-m", "spotlightd")


async def until(
    what: Callable[[], Any], says: str, *, seconds: float = PATIENCE_SECONDS, every: float = POLL_SECONDS
) -> Any:
    """The first truthy answer of a function or coroutine. AssertionError when there is none in time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        found = what()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        assert loop.time() < end, f"not within {seconds:g} s: {says}"
        await asyncio.sleep(every)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    text: str
    seconds: float = 0.0

    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Daemon:
    """A daemon that was begun. `events` are its lines of JSON, `words` the lines that are none."""

    process: asyncio.subprocess.Process
    session: aiohttp.ClientSession
    events: list[dict[str, Any]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def web(self) -> str:
        return str(self.said("daemon ready")[-1]["web"])

    def said(self, event: str, **facts: Any) -> list[dict[str, Any]]:
        """Its events of that name with those facts."""
        return [one for one in self.events if one["event"] == event and facts.items() <= one.items()]

    async def says(self, event: str, *, times: int = 1, seconds: float = PATIENCE_SECONDS, **facts: Any) -> Any:
        """Wait until it has said an event so often; the last one."""

        def heard() -> list[dict[str, Any]]:
            found = self.said(event, **facts)
            over = self.process.returncode is not None
            assert not (over and len(found) < times), f"it ended ({self.process.returncode}): {self.told()}"
            return found if len(found) >= times else []

        try:
            return (await until(heard, f"{event} {facts}", seconds=seconds))[-1]
        except AssertionError as late:
            raise AssertionError(f"{late}: {self.told()}") from None

    def told(self) -> str:
        lines = [str({name: fact for name, fact in one.items() if name not in _DULL}) for one in self.events[-40:]]
        return "\n  ".join(["the daemon said:", *lines, *self.words[-40:]])

    async def ready(self) -> Daemon:
        """Wait until /readyz answers 200."""
        await self.says("daemon ready")
        await until(self.is_ready, "/readyz answers 200")
        return self

    async def is_ready(self) -> bool:
        return (await self.get("/readyz")).status == 200

    async def is_not_ready(self, because: str) -> bool:
        """Whether /readyz answers 503 with that word in its reasons."""
        answer = await self.get("/readyz")
        return answer.status == 503 and because in answer.text

    async def get(self, path: str, *, seconds: float = PATIENCE_SECONDS) -> Answer:
        """A page, read to its end within that time."""
        await self.says("daemon ready")
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with self.session.get(self.web + path, timeout=aiohttp.ClientTimeout(total=seconds)) as answer:
            return Answer(answer.status, await answer.text(), loop.time() - began)

    async def status(self) -> Any:
        answer = await self.get("/status.json")
        assert answer.status == 200, answer.text
        return answer.json()

    async def flow(self, name: str) -> Any:
        return next(one for one in (await self.status())["state"]["flows"] if one["name"] == name)

    def engine_pid(self) -> int:
        """Of the engine that lives now; 0 while none does."""
        with contextlib.suppress(psutil.NoSuchProcess):
            ours = {child.pid for child in psutil.Process(self.pid).children()}
            return next((one["pid"] for one in reversed(self.said("engine ready")) if one["pid"] in ours), 0)
        return 0

    def memory(self) -> int:
        """Resident bytes of the daemon itself, engine and parser apart."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def send(self, number: int) -> None:
        """Not by the process object, which looks for its end first, and may see it before asyncio does: status 255."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def ended(self, *, seconds: float = 10.0) -> int:
        """Its exit status. AssertionError when it does not end in time."""
        try:
            async with asyncio.timeout(seconds):
                return await self.process.wait()
        except TimeoutError:
            raise AssertionError(f"it has not ended within {seconds:g} s: {self.told()}") from None

    async def stop(self) -> int:
        """Tell it to stop; its exit status. All that it ever said must have been events."""
        self.send(signal.SIGTERM)
        status = await self.ended()
        assert not self.words, "\n".join(self.words)
        return status

    async def kill(self) -> None:
        """End it as a power cut would."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()

    async def listen(self) -> None:
        """Take down what it says, line by line."""
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            text = line.decode(errors="replace").rstrip("\n")
            try:
                self.events.append(json.loads(text))
            except ValueError:
                self.words.append(text)


_DULL = frozenset({"timestamp", "level", "url"})


@asynccontextmanager
async def begun(
    config: Path, *more: str, env: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
) -> AsyncIterator[Daemon]:
    """A daemon while the block runs, ready or not; killed at its end if it still lives."""
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
    async with begun(config, *more, **how) as daemon:
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
    """Run one command of ours to its end; killed when it takes longer."""
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
    """Ours, without what systemd may have told the test run itself."""
    return {name: text for name, text in os.environ.items() if name not in {"NOTIFY_SOCKET", "WATCHDOG_USEC"}}


def settings_file(folder: Path, at: str, **sections: Any) -> Path:
    """A settings file for a daemon whose publisher stands at that address: patient with nobody, on a free port."""
    told: dict[str, Any] = {
        "state_dir": str(folder / "state"),
        "publisher": {"attempts": 2, "backoff_seconds": 0.05, "connect_seconds": 5.0, "stall_seconds": 10.0},
        "web": {"port": 0},
        "metrics": {"port": 0},
        "log": {"format": "json", "level": "info"},
        "schedule": {"sources": ["fast_ftd"]},
        "disk": NO_MARKS,
    }
    for name, values in sections.items():
        told[name] = {**told.get(name, {}), **values} if isinstance(values, Mapping) else values
    told["publisher"] = {**told["publisher"], "mirrors": {"www.sec.gov": at}}
    path = folder / "spotlightd.toml"
    path.write_text(_toml(told), encoding="utf-8")
    return path


def _toml(told: Mapping[str, Any], where: str = "") -> str:
    plain = {name: value for name, value in told.items() if not isinstance(value, Mapping)}
    lines = [f"{json.dumps(name)} = {_word(value)}" for name, value in plain.items()]
    for name, value in told.items():
        if isinstance(value, Mapping):
            inner = f"{where}{json.dumps(name)}"
            lines += [f"[{inner}]", _toml(value, f"{inner}.")]
    return "\n".join(lines)


def _word(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else json.dumps(value)
