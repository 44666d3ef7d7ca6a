"""The port `Parser`: a warm child process with limits reads documents; the daemon never does.

There is one child, which reads one document at a time: a second one would take a core from the engine, which is busy
with the rows. The child is reused after a document that it read to the end. After anything else it is killed: a limit,
a malformed document, a cancelled caller. Its output is passed on in pieces of at most 256 KiB. A few of them are queued
for the warehouse; then the pipe fills up, and the child waits too.
"""

from __future__ import annotations

import asyncio
import json
import resource
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from spotlightd.errors import FormatError, StoreError
from spotlightd.model.dataset import Dataset
from spotlightd.model.provenance import Reject
from spotlightd.model.source import Batch, Period
from spotlightd.model.stream import Stream
from spotlightd.ports.parser import ParseResult
from spotlightd.settings.sources import ParserSettings
from spotlightd.workers.child_process import (
    END_SECONDS,
    PIECE_BYTES,
    describe_exit,
    describe_memory,
    describe_timeout,
    kill_group,
    list_files,
    make_start,
    start_child,
    warn_unless_confined,
)
from spotlightd.workers.inbox import create_inbox, put_document, remove_inbox
from spotlightd.workers.protocol import HEAD, Frame, FrameDecoder, Kind

START_SECONDS = 30.0
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


@dataclass(frozen=True, slots=True)
class _Child:
    process: asyncio.subprocess.Process
    requests: asyncio.StreamWriter
    frames: asyncio.StreamReader


class ChildParser:
    """Owns the child. `places` has the module or file of each source, by name of the source.

    The child may read one folder, the inbox, which holds the document that it is to read and nothing else. It should be on
    the disk of the documents, so that no document is copied. `confinement` says how the child is confined.
    """

    def __init__(
        self,
        limits: ParserSettings,
        places: Mapping[str, str] | None = None,
        log: Callable[..., Any] | None = None,
        inbox: Path | None = None,
    ) -> None:
        self._limits, self._places, self._log = limits, dict(places or {}), log or (lambda *_, **__: None)
        self._inbox = inbox or Path(tempfile.gettempdir()) / f"spotlightd-{secrets.token_hex(8)}"
        self._child: _Child | None = None
        self._lock = asyncio.Lock()
        self.confinement = ""

    async def __aenter__(self) -> Self:
        await create_inbox(self._inbox)
        try:
            await self._ensure_child()
        except BaseException:
            await remove_inbox(self._inbox)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is not None:
            child = self._child
            self._kill(child)
            await self._reap(child, "closing")
        await remove_inbox(self._inbox)

    @asynccontextmanager
    async def parse(
        self, source: Batch | Stream, path: Path, name: str, *, load_id: int, period: Period | None = None
    ) -> AsyncIterator[ChildParseSession]:
        """Waits until the child is free. StoreError when no child can be started."""
        request = {
            "place": self._places.get(source.name, source.parse.__module__),
            "source": source.name,
            "name": name,
            "load_id": load_id,
            "period": [period.first.isoformat(), period.last.isoformat()] if period else None,
        }
        async with self._open_session(request, path, source.datasets) as session:
            yield session

    async def content_digest(self, path: Path, name: str) -> str:
        """Computed in the child too, because the archive is not trusted."""
        async with self._open_session({"source": "", "name": name}, path) as session:
            return (await session.result()).content

    @asynccontextmanager
    async def _open_session(
        self, request: dict[str, Any], path: Path, datasets: Sequence[Dataset] = ()
    ) -> AsyncIterator[ChildParseSession]:
        async with self._lock, put_document(path, self._inbox) as document:
            request |= {"path": str(document), "limits": asdict(self._limits)}
            child = await self._ensure_child()
            session = ChildParseSession(datasets)
            pump = asyncio.create_task(self._pump(child, request, session), name=f"parse {request['name']}")
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
            session.fail(describe_timeout(self._limits))
        except (ValueError, TypeError, LookupError, OSError) as problem:
            session.fail(f"the parser's child process sent no valid answer: {problem!r}")
        await session.close()

    async def _feed(self, child: _Child, request: dict[str, Any], session: ChildParseSession) -> None:
        _limit_processor_time(child.process.pid, self._limits.cpu_seconds)
        with suppress(ConnectionError):  # a dead child is noticed by the end of its output
            child.requests.write(json.dumps(request).encode() + b"\n")
            await child.requests.drain()
        frames = FrameDecoder()
        while data := await child.frames.read(PIECE_BYTES):
            for frame in frames.feed(data):
                await session.handle(frame, self._limits)
            if session.is_over:
                return
        session.fail(describe_exit(await child.process.wait(), self._limits))

    async def _ensure_child(self) -> _Child:
        if self._child is not None and self._child.process.returncode is None:
            return self._child
        self._child = child = await _start(self._limits, self._inbox, list_files(self._places.values()))
        try:
            confinement = await _wait_ready(child)
        except asyncio.CancelledError:
            self._kill(child)
            raise
        if not confinement:
            self._kill(child)
            await self._reap(child, "did not start")
            raise StoreError(
                f"the parser's child process did not start (status {child.process.returncode}): is parser.memory_bytes "
                f"({self._limits.memory_bytes:,}) too small, or the machine out of memory?"
            )
        self._log("parser child started", pid=child.process.pid)
        self.confinement = warn_unless_confined("parser", confinement, self.confinement, self._log)
        return child

    def _kill(self, child: _Child) -> None:
        """Kill the child at once, and never use it again, even when the calling task is cancelled."""
        if self._child is child:
            self._child = None
        kill_group(child.process)

    async def _reap(self, child: _Child, reason: str) -> None:
        child.requests.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                while await child.frames.read(PIECE_BYTES):  # asyncio reports the end of a process only after its pipes
                    pass
                await child.process.wait()
        self._log("parser child ended", pid=child.process.pid, why=reason)


async def _start(limits: ParserSettings, inbox: Path, files: Sequence[str]) -> _Child:
    """Start a child and send it what it confines itself to."""
    process = await start_child("spotlightd.workers.parser_child", environment=ENVIRONMENT)
    if process.stdin is None or process.stdout is None:
        raise StoreError("the parser's child process has no pipes")
    start = make_start([str(inbox), *files], {"AS": (limits.memory_bytes,) * 2}) | {"files": list(files)}
    process.stdin.write(json.dumps(start).encode() + b"\n")
    return _Child(process, process.stdin, process.stdout)


async def _wait_ready(child: _Child) -> str:
    """How the child is confined; empty when it did not get ready."""
    with suppress(TimeoutError, asyncio.IncompleteReadError, ValueError, LookupError):
        async with asyncio.timeout(START_SECONDS):
            kind, _, length = HEAD.unpack(await child.frames.readexactly(HEAD.size))
            message = json.loads(await child.frames.readexactly(length))
        if kind == Kind.READY:
            return str(message["confinement"])
    return ""


def _limit_processor_time(pid: int, seconds: int) -> None:
    """Limit the next document of the child. The system counts from the start of the process, so the time used so far is
    added. The child itself cannot change its limits.
    """
    clock = (~pid << 3) | 2  # the processor time of another process, see clock_getcpuclockid(3)
    try:
        used = int(time.clock_gettime(clock))
        hard = resource.prlimit(pid, resource.RLIMIT_CPU)[1]
    except OSError:  # a dead child is noticed by the end of its output
        return
    with suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_CPU, (used + seconds + 1, hard))


class ChildParseSession:
    """The port `ParseSession`: one document in the child."""

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        self.problem = ""
        self._failure: FormatError | None = None
        self._result: ParseResult | None = None
        self._rejects: list[Reject] = []
        self._ended = asyncio.Event()
        self._streams: dict[str, asyncio.Queue[bytes | None]] = {
            dataset.name: asyncio.Queue(QUEUED_PIECES) for dataset in datasets
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
            totals = frame.value
            self._result = ParseResult(totals["rows"], tuple(self._rejects), totals["lines"], totals["content"])
            self._ended.set()
        elif frame.kind is Kind.FAILED:
            self.fail(frame.value["message"], frame.value["member"], frame.value["line"])
        elif frame.kind is Kind.OUT_OF_MEMORY:
            self.fail(describe_memory(limits))

    def fail(self, message: str, member: int = 0, line: int = 0) -> None:
        self.problem = message
        self._failure = FormatError(message, member=member, line=line)
        self._ended.set()

    async def close(self) -> None:
        for stream in self._numbered:
            await stream.put(None)
