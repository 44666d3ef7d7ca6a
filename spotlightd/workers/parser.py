"""The port `Parser`: a warm child process with limits reads documents; the daemon never does.

There is one child, which reads one document at a time: a second one would take a core from the engine, which is busy
with the rows. The child is reused after a document that it read to the end. After anything else it is killed: a limit,
a malformed document, a cancelled caller. Its output is passed on in pieces of at most 256 KiB. A few of them are queued
for the warehouse; then the pipe fills up, and the child waits too.
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
from spotlightd.ports.parser import ParseResult
from spotlightd.settings.sources import ParserSettings
from spotlightd.workers.protocol import Frame, FrameDecoder, Kind, encode_message

START_SECONDS = 30.0
END_SECONDS = 10.0
PIECE_BYTES = 1 << 18
QUEUED_PIECES = 8
# The child keeps freed memory between blocks: returning it and faulting it in again took a fifth of the processor time.
ENVIRONMENT = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(512 << 20),
    "MALLOC_TOP_PAD_": str(16 << 20),
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


_READY_MESSAGE = encode_message(Kind.READY, {})


@dataclass(frozen=True, slots=True)
class _Child:
    process: asyncio.subprocess.Process
    requests: asyncio.StreamWriter
    frames: asyncio.StreamReader


class ChildParser:
    """Owns the child. `places` has the file of each source outside this package, by name of the source."""

    def __init__(
        self,
        limits: ParserSettings,
        places: Mapping[str, str] | None = None,
        log: Callable[..., Any] | None = None,
    ) -> None:
        self._limits, self._places, self._log = limits, dict(places or {}), log or (lambda *_, **__: None)
        self._child: _Child | None = None
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self._ensure_child()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is not None:
            child = self._child
            self._kill(child)
            await self._reap(child, "closing")

    @asynccontextmanager
    async def parse(
        self, source: Batch | Stream, path: Path, name: str, *, load_id: int
    ) -> AsyncIterator[ChildParseSession]:
        """Waits until the child is free. StoreError when no child can be started."""
        request = {
            "place": self._places.get(source.name, source.parse.__module__),
            "source": source.name,
            "path": str(path),
            "name": name,
            "load_id": load_id,
            "limits": asdict(self._limits),
        }
        async with self._lock:
            child = await self._ensure_child()
            session = ChildParseSession(source)
            pump = asyncio.create_task(self._pump(child, request, session), name=f"parse {source.name} {name}")
            try:
                yield session
            finally:
                if not session.is_complete:
                    self._kill(child)
                pump.cancel()
                await asyncio.wait([pump])
                if not session.is_complete:
                    await self._reap(child, session.problem or "left early")

    async def _pump(self, child: _Child, request: dict[str, Any], session: ChildParseSession) -> None:
        try:
            async with asyncio.timeout(self._limits.wall_seconds):
                await self._feed(child, request, session)
        except TimeoutError:
            session.fail(f"reading it took more than {self._limits.wall_seconds:g} seconds (parser.wall_seconds)")
        except (ValueError, TypeError, LookupError, OSError) as problem:
            session.fail(f"the parser's child process sent no valid answer: {problem!r}")
        await session.close()

    async def _feed(self, child: _Child, request: dict[str, Any], session: ChildParseSession) -> None:
        with suppress(ConnectionError):  # a dead child is noticed by the end of its output
            child.requests.write(json.dumps(request).encode() + b"\n")
            await child.requests.drain()
        frames = FrameDecoder()
        while data := await child.frames.read(PIECE_BYTES):
            for frame in frames.feed(data):
                await session.handle(frame, self._limits)
            if session.is_over:
                return
        session.fail(_describe_exit(await child.process.wait(), self._limits))

    async def _ensure_child(self) -> _Child:
        if self._child is not None and self._child.process.returncode is None:
            return self._child
        self._child = child = await _spawn(self._limits)
        try:
            async with asyncio.timeout(START_SECONDS):
                message = await child.frames.readexactly(len(_READY_MESSAGE))
        except (TimeoutError, asyncio.IncompleteReadError):
            message = b""
        except asyncio.CancelledError:
            self._kill(child)
            raise
        if message != _READY_MESSAGE:
            self._kill(child)
            await self._reap(child, "did not start")
            raise StoreError(
                f"the parser's child process did not start (status {child.process.returncode}): is parser.memory_bytes "
                f"({self._limits.memory_bytes:,}) too small, or the machine out of memory?"
            )
        self._log("parser child started", pid=child.process.pid)
        return child

    def _kill(self, child: _Child) -> None:
        """Kill the child at once, and never use it again, even when the calling task is cancelled."""
        if self._child is child:
            self._child = None
        with suppress(ProcessLookupError):
            child.process.kill()

    async def _reap(self, child: _Child, reason: str) -> None:
        child.requests.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                while await child.frames.read(PIECE_BYTES):  # asyncio reports the end of a process only after its pipes
                    pass
                await child.process.wait()
        self._log("parser child ended", pid=child.process.pid, why=reason)


async def _spawn(limits: ParserSettings) -> _Child:
    """The environment holds nothing but the memory settings. The child has its own session, so ^C reaches only the
    daemon.
    """
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


class ChildParseSession:
    """The port `ParseSession`: one document in the child."""

    def __init__(self, source: Batch | Stream) -> None:
        self.problem = ""
        self._failure: FormatError | None = None
        self._result: ParseResult | None = None
        self._rejects: list[Reject] = []
        self._ended = asyncio.Event()
        self._streams: dict[str, asyncio.Queue[bytes | None]] = {
            dataset.name: asyncio.Queue(QUEUED_PIECES) for dataset in source.datasets
        }
        self._numbered = list(self._streams.values())

    @property
    def is_over(self) -> bool:
        return self._ended.is_set()

    @property
    def rejects(self) -> tuple[Reject, ...]:
        return tuple(self._rejects)

    @property
    def is_complete(self) -> bool:
        """Whether the document was read to the end; then the child is free for the next one."""
        return self._result is not None

    async def columns(self, dataset: str) -> AsyncIterator[bytes]:
        stream = self._streams[dataset]
        while (piece := await stream.get()) is not None:
            yield piece

    async def result(self) -> ParseResult:
        await self._ended.wait()
        if self._result is None:
            raise self._failure or FormatError(self.problem)
        return self._result

    async def handle(self, frame: Frame, limits: ParserSettings) -> None:
        if frame.kind is Kind.BLOCK:
            await self._numbered[frame.stream].put(frame.data)
        elif frame.kind is Kind.REJECTS:
            self._rejects += [Reject(*fields) for fields in frame.value]
        elif frame.kind is Kind.DONE:
            self._result = ParseResult(frame.value["rows"], tuple(self._rejects), frame.value["lines"])
            self._ended.set()
        elif frame.kind is Kind.FAILED:
            self.fail(frame.value["message"], frame.value["member"], frame.value["line"])
        elif frame.kind is Kind.OUT_OF_MEMORY:
            self.fail(_out_of_memory(limits))

    def fail(self, message: str, member: int = 0, line: int = 0) -> None:
        self.problem = message
        self._failure = FormatError(message, member=member, line=line)
        self._ended.set()

    async def close(self) -> None:
        for stream in self._numbered:
            await stream.put(None)


def _out_of_memory(limits: ParserSettings) -> str:
    return f"reading it takes more than {limits.memory_bytes >> 20:,} MiB of memory (parser.memory_bytes)"


def _describe_exit(status: int, limits: ParserSettings) -> str:
    if status == -signal.SIGXCPU:
        return f"reading it takes more than {limits.cpu_seconds} seconds of processor time (parser.cpu_seconds)"
    if status in (-signal.SIGABRT, -signal.SIGSEGV):
        return f"{_out_of_memory(limits)}, or crashed the parser ({signal.Signals(-status).name})"
    how = signal.Signals(-status).name if status < 0 else f"status {status}"
    return f"the parser's child process ended while reading it ({how})"
