"""The port `Parser`: documents are read in a warm child process with limits, never in the daemon.

One child, one document at a time: a second core would be taken from the engine, which is busy with the rows. The
child is kept after a document that was read to its end, and ended after everything else: a limit, a document that is
not what it should be, a reader that went away. What it sends is handed on in pieces of at most 256 KiB, a few of
which wait for the warehouse; then the pipe fills up and the child waits too.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from spotlightd.errors import FormatError, StoreError
from spotlightd.model.provenance import Reject
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream
from spotlightd.ports.parser import Parsed
from spotlightd.settings.sources import ParserSettings
from spotlightd.workers.inline import parse_here
from spotlightd.workers.protocol import Frame, Frames, Kind, message

__all__ = ["ChildParser", "parse_here"]

START_SECONDS = 30.0
END_SECONDS = 10.0
PIECE_BYTES = 1 << 18
PIECES_WAITING = 8
# Memory is kept between blocks instead of being given back and faulted in again: a fifth of the processor time.
ENVIRONMENT = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(512 << 20),
    "MALLOC_TOP_PAD_": str(16 << 20),
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


_HELLO = message(Kind.READY, {})


@dataclass(frozen=True, slots=True)
class _Child:
    process: asyncio.subprocess.Process
    requests: asyncio.StreamWriter
    frames: asyncio.StreamReader


class ChildParser:
    """Owns the child. `places` says where sources stand that are not of our own package, by name."""

    def __init__(
        self,
        limits: ParserSettings,
        places: Mapping[str, str] | None = None,
        say: Callable[..., Any] | None = None,
    ) -> None:
        self._limits, self._places, self._say = limits, dict(places or {}), say or (lambda *_, **__: None)
        self._child: _Child | None = None
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self._warm()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is not None:
            child = self._child
            self._kill(child)
            await self._reap(child, "closing")

    @asynccontextmanager
    async def parse(self, source: Batch | Stream, path: Path, name: str, *, load_id: int) -> AsyncIterator[Reading]:
        """Waits for its turn. StoreError when no child can be started."""
        request = {
            "place": self._places.get(source.name, source.parse.__module__),
            "source": source.name,
            "path": str(path),
            "name": name,
            "load_id": load_id,
            "limits": asdict(self._limits),
        }
        async with self._turn:
            child = await self._warm()
            reading = Reading(source)
            pump = asyncio.create_task(self._pump(child, request, reading), name=f"parse {source.name} {name}")
            try:
                yield reading
            finally:
                if not reading.whole:
                    self._kill(child)
                pump.cancel()
                await asyncio.wait([pump])
                if not reading.whole:
                    await self._reap(child, reading.problem or "left early")

    async def _pump(self, child: _Child, request: dict[str, Any], reading: Reading) -> None:
        try:
            async with asyncio.timeout(self._limits.wall_seconds):
                await self._feed(child, request, reading)
        except TimeoutError:
            reading.fail(f"reading it took more than {self._limits.wall_seconds:g} seconds (parser.wall_seconds)")
        except (ValueError, TypeError, LookupError, OSError) as problem:
            reading.fail(f"the parser's child process sent no proper answer: {problem!r}")
        await reading.close()

    async def _feed(self, child: _Child, request: dict[str, Any], reading: Reading) -> None:
        with suppress(ConnectionError):  # a child that is gone says so by the end of its output
            child.requests.write(json.dumps(request).encode() + b"\n")
            await child.requests.drain()
        frames = Frames()
        while data := await child.frames.read(PIECE_BYTES):
            for frame in frames.feed(data):
                await reading.take(frame, self._limits)
            if reading.over:
                return
        reading.fail(_death(await child.process.wait(), self._limits))

    async def _warm(self) -> _Child:
        if self._child is not None and self._child.process.returncode is None:
            return self._child
        self._child = child = await _spawn(self._limits)
        try:
            async with asyncio.timeout(START_SECONDS):
                first = await child.frames.readexactly(len(_HELLO))
        except (TimeoutError, asyncio.IncompleteReadError):
            first = b""
        except asyncio.CancelledError:
            self._kill(child)
            raise
        if first != _HELLO:
            self._kill(child)
            await self._reap(child, "did not start")
            raise StoreError(
                f"the parser's child process did not start (status {child.process.returncode}): is parser.memory_bytes "
                f"({self._limits.memory_bytes:,}) too small, or the machine out of memory?"
            )
        self._say("parser child started", pid=child.process.pid)
        return child

    def _kill(self, child: _Child) -> None:
        """At once, and never to be used again, whatever becomes of the task that asks for it."""
        if self._child is child:
            self._child = None
        with suppress(ProcessLookupError):
            child.process.kill()

    async def _reap(self, child: _Child, why: str) -> None:
        child.requests.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                while await child.frames.read(PIECE_BYTES):  # without the end of its pipes, asyncio sees no end of it
                    pass
                await child.process.wait()
        self._say("parser child ended", pid=child.process.pid, why=why)


async def _spawn(limits: ParserSettings) -> _Child:
    """An empty environment but for what keeps its memory small; a session of its own, so that ^C is the daemon's."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-m", "spotlightd.workers.parser_child", str(limits.memory_bytes), str(os.getpid())),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=ENVIRONMENT,
        limit=PIECE_BYTES,
        start_new_session=True,
    )
    if process.stdin is None or process.stdout is None:
        raise StoreError("the parser's child process has no pipes")
    return _Child(process, process.stdin, process.stdout)


class Reading:
    """One document being read: the port `Parsing`."""

    def __init__(self, source: Batch | Stream) -> None:
        self.problem = ""
        self._failure: FormatError | None = None
        self._parsed: Parsed | None = None
        self._rejects: list[Reject] = []
        self._settled = asyncio.Event()
        self._streams: dict[str, asyncio.Queue[bytes | None]] = {
            dataset.name: asyncio.Queue(PIECES_WAITING) for dataset in source.datasets
        }
        self._numbered = list(self._streams.values())

    @property
    def over(self) -> bool:
        return self._settled.is_set()

    @property
    def rejects(self) -> tuple[Reject, ...]:
        return tuple(self._rejects)

    @property
    def whole(self) -> bool:
        """The document was read to its end, and the child is free for the next."""
        return self._parsed is not None

    async def columns(self, dataset: str) -> AsyncIterator[bytes]:
        stream = self._streams[dataset]
        while (piece := await stream.get()) is not None:
            yield piece

    async def parsed(self) -> Parsed:
        await self._settled.wait()
        if self._parsed is None:
            raise self._failure or FormatError(self.problem)
        return self._parsed

    async def take(self, frame: Frame, limits: ParserSettings) -> None:
        if frame.kind is Kind.BLOCK:
            await self._numbered[frame.stream].put(frame.data)
        elif frame.kind is Kind.REJECTS:
            self._rejects += [Reject(*one) for one in frame.value]
        elif frame.kind is Kind.DONE:
            self._parsed = Parsed(frame.value["rows"], tuple(self._rejects), frame.value["lines"])
            self._settled.set()
        elif frame.kind is Kind.FAILED:
            self.fail(frame.value["message"], frame.value["member"], frame.value["line"])
        elif frame.kind is Kind.STARVED:
            self.fail(_starved(limits))

    def fail(self, message: str, member: int = 0, line: int = 0) -> None:
        self.problem = message
        self._failure = FormatError(message, member=member, line=line)
        self._settled.set()

    async def close(self) -> None:
        for stream in self._numbered:
            await stream.put(None)


def _starved(limits: ParserSettings) -> str:
    return f"reading it takes more than {limits.memory_bytes >> 20:,} MiB of memory (parser.memory_bytes)"


def _death(status: int, limits: ParserSettings) -> str:
    if status == -signal.SIGXCPU:
        return f"reading it takes more than {limits.cpu_seconds} seconds of processor time (parser.cpu_seconds)"
    if status in (-signal.SIGABRT, -signal.SIGSEGV):
        return f"{_starved(limits)}, or crashed the parser ({signal.Signals(-status).name})"
    how = signal.Signals(-status).name if status < 0 else f"status {status}"
    return f"the parser's child process ended while reading it ({how})"
