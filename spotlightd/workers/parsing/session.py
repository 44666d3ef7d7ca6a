"""A session with the parser child: the documents of a group, one after the other, and their rows as they come."""

from __future__ import annotations

import asyncio
import json
import resource
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spotlightd.errors import FormatError
from spotlightd.model.dataset import Dataset
from spotlightd.model.provenance import Reject
from spotlightd.model.source import Period
from spotlightd.ports.parser import ParseResult
from spotlightd.settings.sources import ParserSettings
from spotlightd.workers.child_process import (
    MOST_CHARACTERS,
    PIECE_BYTES,
    describe_exit,
    describe_memory,
    describe_timeout,
    kill_group,
)
from spotlightd.workers.inbox import put_document
from spotlightd.workers.parsing.answers import read_refusal, read_rejects, read_result
from spotlightd.workers.protocol import Frame, FrameDecoder, Kind

QUEUED_PIECES = 8
MOST_REJECTS = 2_000_000  # of one document: the daemon holds them until its end, some 200 bytes each besides the text


@dataclass(frozen=True, slots=True)
class Child:
    """A running child that said how it is confined."""

    process: asyncio.subprocess.Process
    requests: asyncio.StreamWriter
    frames: asyncio.StreamReader


class GroupSession:
    """The port `GroupSession`. `pump` must run while it is used. Its user kills the child unless `is_complete`."""

    def __init__(
        self, child: Child, limits: ParserSettings, inbox: Path, request: Mapping[str, Any], datasets: Sequence[Dataset]
    ) -> None:
        self.problem = ""
        self.is_complete = False
        self._child, self._limits, self._inbox = child, limits, inbox
        self._request = {"kind": "parse", "limits": asdict(limits), **request}
        self._rejects: list[Reject] = []
        self._answer: asyncio.Future[ParseResult] | None = None
        self._expected: frozenset[Kind] = frozenset()
        self._streams: dict[str, asyncio.Queue[bytes | None]] = {
            dataset.name: asyncio.Queue(QUEUED_PIECES) for dataset in datasets
        }
        self._numbered = list(self._streams.values())

    @property
    def rejects(self) -> tuple[Reject, ...]:
        """The lines of the newest document that were rejected so far."""
        return tuple(self._rejects)

    async def columns(self, dataset: str) -> AsyncIterator[bytes]:
        stream = self._streams[dataset]
        while (piece := await stream.get()) is not None:
            yield piece

    async def read(self, path: Path, name: str, *, load_id: int, period: Period | None = None) -> ParseResult:
        """Read one document; see the port."""
        days = [period.first.isoformat(), period.last.isoformat()] if period else None
        self._rejects.clear()
        document = await put_document(path, self._inbox)
        _limit_processor_time(self._child.process.pid, self._limits.cpu_seconds)
        place = {"path": str(document), "name": name, "load_id": load_id, "period": days}
        return await self._request_answer({**self._request, **place}, Kind.DONE, Kind.FAILED)

    async def finish(self) -> None:
        """Let the child complete the streams; see the port."""
        await self._request_answer({"kind": "end"}, Kind.END)

    async def _request_answer(self, request: dict[str, Any], *kinds: Kind) -> ParseResult:
        if self.problem:
            raise FormatError(self.problem)
        self._expected = frozenset(kinds)
        self._answer = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._limits.wall_seconds):
                with suppress(ConnectionError):  # a dead child is noticed by the end of its output
                    self._child.requests.write(json.dumps(request).encode() + b"\n")
                    await self._child.requests.drain()
                return await self._answer
        except TimeoutError:
            self._fail(describe_timeout(self._limits))
            raise FormatError(self.problem) from None

    async def pump(self) -> None:
        """Pass the child's answers on, until the group is complete or the child has ended.

        Hostile code may have written them. So whatever goes wrong, also something that nobody thought of, is known to be
        theirs: the child is killed, and the streams end.
        """
        passing = asyncio.create_task(self._pass_answers_on(), name="pass answers of the parser child on")
        try:
            await asyncio.wait([passing])
        finally:
            passing.cancel()
            await asyncio.wait([passing])
        if problem := passing.exception():
            self._fail(f"the parser's child process sent no valid answer: {problem!r}"[:MOST_CHARACTERS])
        for stream in self._numbered:
            await stream.put(None)

    async def _pass_answers_on(self) -> None:
        frames = FrameDecoder()
        while data := await self._child.frames.read(PIECE_BYTES):
            for frame in frames.feed(data):
                if frame.kind is Kind.BLOCK:
                    await self._numbered[frame.stream].put(frame.data)
                else:
                    self._handle(frame)
            if self.is_complete:
                return
        self._fail(describe_exit(await self._child.process.wait(), self._limits))

    def _handle(self, frame: Frame) -> None:
        if frame.kind is Kind.REJECTS:
            self._rejects += read_rejects(frame.value)
            if len(self._rejects) > MOST_REJECTS:
                raise ValueError(f"more than {MOST_REJECTS:,} rejected lines")
        elif frame.kind is Kind.OUT_OF_MEMORY:
            self._fail(describe_memory(self._limits))
        elif self._answer is None or self._answer.done() or frame.kind not in self._expected:
            raise ValueError(f"{frame.kind.name} answers no request")
        elif frame.kind is Kind.FAILED:
            self._answer.set_exception(read_refusal(frame.value))
        elif frame.kind is Kind.DONE:
            self._answer.set_result(read_result(frame.value, self._streams, self.rejects))
        else:
            self._answer.set_result(ParseResult({}, (), 0))
            self.is_complete = True

    def _fail(self, message: str) -> None:
        """The child is of no use any more. Its end is the end of the streams."""
        self.problem = self.problem or message
        kill_group(self._child.process)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(FormatError(self.problem))


class SingleSession:
    """The port `ParseSession`: a group of one document."""

    def __init__(self, group: GroupSession, reading: asyncio.Task[ParseResult]) -> None:
        self._group, self._reading = group, reading
        self.columns = group.columns

    @property
    def rejects(self) -> tuple[Reject, ...]:
        return self._group.rejects

    async def result(self) -> ParseResult:
        return await asyncio.shield(self._reading)


@asynccontextmanager
async def read_single(
    group: GroupSession, path: Path, name: str, load_id: int, period: Period | None
) -> AsyncIterator[SingleSession]:
    """Read one document in a group of its own while the block runs."""

    async def read() -> ParseResult:
        try:
            result = await group.read(path, name, load_id=load_id, period=period)
        except FormatError:
            with suppress(FormatError):  # the document is refused already
                await group.finish()
            raise
        await group.finish()
        return result

    reading = asyncio.create_task(read(), name=f"parse {name}")
    try:
        yield SingleSession(group, reading)
    finally:
        reading.cancel()
        await asyncio.wait([reading])
        if not reading.cancelled():
            reading.exception()  # it is known to who asked for the result


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
