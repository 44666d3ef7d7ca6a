"""The port `Parser`: a warm child process with limits reads documents; the daemon never does.

There is one child, which reads one document at a time: a second one would take a core from the engine, which is busy
with the rows. Its output is passed on in pieces of at most 256 KiB. A few of them are queued for the warehouse; then the
pipe fills up, and the child waits too.

The child is reused after documents that it read to the end, or that the source refused: `parse` is pure, and all that it
opened is closed then. After anything else it is killed: a limit, a bug in a source, a cancelled caller. So a document
has the same outcome in whatever company it is read, and the documents of a group share a child as those of a day do. A
new child for each would cost 0.3 s of processor time. Only bytes that take over the child's code could change what it
answers about later documents, in a group or not; the confinement limits what else they could do.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from spotlightd.errors import StoreError
from spotlightd.model.dataset import Dataset
from spotlightd.model.source import Batch, Period
from spotlightd.model.stream import Stream
from spotlightd.settings.sources import ParserSettings
from spotlightd.workers.child_process import (
    END_SECONDS,
    PIECE_BYTES,
    kill_group,
    list_files,
    make_start,
    read_confinement,
    start_child,
    warn_unless_confined,
)
from spotlightd.workers.inbox import create_inbox, empty_inbox, remove_inbox
from spotlightd.workers.parsing.session import Child, GroupSession, SingleSession, read_single
from spotlightd.workers.protocol import HEAD, MAX_MESSAGE_BYTES, Kind

START_SECONDS = 30.0
# The child keeps freed memory between blocks: returning it and faulting it in again took a fifth of the processor time.
ENVIRONMENT = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "ARROW_IO_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(512 << 20),
    "MALLOC_TOP_PAD_": str(16 << 20),
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


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
        self._child: Child | None = None
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
    ) -> AsyncIterator[SingleSession]:
        """Waits until the child is free. StoreError when no child can be started."""
        async with self.parse_group(source) as group, read_single(group, path, name, load_id, period) as session:
            yield session

    @asynccontextmanager
    async def parse_group(self, source: Batch | Stream) -> AsyncIterator[GroupSession]:
        """Waits until the child is free. StoreError when no child can be started."""
        place = self._places.get(source.name, source.parse.__module__)
        async with self._open_session({"place": place, "source": source.name}, source.datasets) as session:
            yield session

    async def content_digest(self, path: Path, name: str) -> str:
        """Computed in the child too, because the archive is not trusted."""
        async with self._open_session({"kind": "digest"}) as session:
            content = (await session.read(path, name, load_id=0)).content
            await session.finish()
            return content

    @asynccontextmanager
    async def _open_session(
        self, request: dict[str, Any], datasets: Sequence[Dataset] = ()
    ) -> AsyncIterator[GroupSession]:
        async with self._lock:
            child = await self._ensure_child()
            session = GroupSession(child, self._limits, self._inbox, request, datasets)
            pump = asyncio.create_task(session.pump(), name="answers of the parser child")
            try:
                yield session
            finally:
                if not session.is_complete:
                    self._kill(child)
                pump.cancel()
                await asyncio.wait([pump])
                if not session.is_complete:
                    await self._reap(child, session.problem or "left early")
                await empty_inbox(self._inbox)

    async def _ensure_child(self) -> Child:
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

    def _kill(self, child: Child) -> None:
        """Kill the child at once, and never use it again, even when the calling task is cancelled."""
        if self._child is child:
            self._child = None
        kill_group(child.process)

    async def _reap(self, child: Child, reason: str) -> None:
        child.requests.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                while await child.frames.read(PIECE_BYTES):  # asyncio reports the end of a process only after its pipes
                    pass
                await child.process.wait()
        self._log("parser child ended", pid=child.process.pid, why=reason)


async def _start(limits: ParserSettings, inbox: Path, files: Sequence[str]) -> Child:
    """Start a child and send it what it confines itself to."""
    process = await start_child("spotlightd.workers.parser_child", environment=ENVIRONMENT)
    if process.stdin is None or process.stdout is None:
        raise StoreError("the parser's child process has no pipes")
    start = make_start([str(inbox), *files], {"AS": (limits.memory_bytes,) * 2}) | {"files": list(files)}
    process.stdin.write(json.dumps(start).encode() + b"\n")
    return Child(process, process.stdin, process.stdout)


async def _wait_ready(child: Child) -> str:
    """How the child is confined; empty when it did not get ready."""
    with suppress(TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(START_SECONDS):
            kind, _, length = HEAD.unpack(await child.frames.readexactly(HEAD.size))
            if kind == Kind.READY and length <= MAX_MESSAGE_BYTES:
                return read_confinement(await child.frames.readexactly(length))
    return ""
