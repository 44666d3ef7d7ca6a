"""Ports for work on untrusted bytes, which runs in confined child processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from spotlightd.model.archive import Fingerprint
from spotlightd.model.dataset import Column
from spotlightd.model.provenance import Reject
from spotlightd.model.source import Batch, Period
from spotlightd.model.stream import Stream


@dataclass(frozen=True, slots=True)
class ParseResult:
    """The totals of a parsed document: rows by dataset, lines that are not loaded, and lines read. `content` is set only
    where the content of an archive was digested.
    """

    rows: Mapping[str, int]
    rejects: tuple[Reject, ...]
    lines: int
    content: str = ""


class ParseSession(Protocol):
    """A document that is being parsed: one Arrow IPC stream per dataset, with `load_id`, in the order of `dataset.stored`.

    All streams must be read at the same time, because the parser writes them as rows come. `result` waits for the end.
    It raises FormatError when the document does not have its source's format; the streams then end early.
    """

    def columns(self, dataset: str) -> AsyncIterator[bytes]: ...

    @property
    def rejects(self) -> tuple[Reject, ...]:
        """The lines rejected so far, also of a document that was refused."""

    async def result(self) -> ParseResult: ...


class GroupSession(Protocol):
    """Documents of one source that are parsed one after the other. Each dataset has one Arrow IPC stream for all of them, with
    the `load_id` of each document; all streams must be read at the same time.
    """

    def columns(self, dataset: str) -> AsyncIterator[bytes]: ...

    @property
    def problem(self) -> str:
        """Why the group cannot be finished: a document exceeded a limit, or the source has a bug. Empty while it can. Then
        the streams end too early, and which document is to blame is known only when each is parsed alone.
        """

    @property
    def rejects(self) -> tuple[Reject, ...]:
        """The lines of the newest document that were rejected so far, also when it was refused."""

    async def read(self, path: Path, name: str, *, load_id: int, period: Period | None = None) -> ParseResult:
        """Parse one document. FormatError when it does not have its source's format, or there is a `problem`. Of a refused document
        some rows may be in the streams; those of the others are not affected.
        """

    async def finish(self) -> None:
        """No document comes any more: complete the streams. FormatError when there is a `problem`."""


class Parser(Protocol):
    """Parses untrusted bytes outside the daemon's process, with limits on memory, processor time and wall time."""

    def parse(
        self, source: Batch | Stream, path: Path, name: str, *, load_id: int, period: Period | None = None
    ) -> AbstractAsyncContextManager[ParseSession]:
        """Leaving the block ends the parsing, finished or not. `period`: the days of a document, for the rule of its
        source about rows outside them.
        """

    def parse_group(self, source: Batch | Stream) -> AbstractAsyncContextManager[GroupSession]:
        """Leaving the block before `finish` ends the parsing."""

    async def content_digest(self, path: Path, name: str) -> str:
        """Two words that do not depend on how the members of an archive are packed: one for their bytes, and one for their
        bytes, names and order. Empty when the file is no archive that can be read whole.
        """


class Verifier(Protocol):
    """Reads Parquet files outside the daemon's process, with limits on memory and time.

    Its code is independent of the code that wrote the files.
    """

    def keep(self) -> AbstractAsyncContextManager[None]:
        """While the block runs, what starts a reader for each file stays ready. For callers with several files."""

    async def fingerprint(self, path: Path, columns: Sequence[Column], time: str) -> Fingerprint:
        """The fingerprint of a local file, which must have exactly these columns. StoreError when the file is different
        or exceeds the limits.
        """


@dataclass(frozen=True, slots=True)
class ExcerptLine:
    """One line of a document without its line end, cut after some thousand characters."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The lines around one line. `name` is the archive member's name, empty when the document is not an archive.

    Of a PDF, `lines` are the cells of the page `member` in reading order, and `picture` is that page as a PNG with the cell
    marked, if it was asked for. `is_page` tells it from a text.
    """

    name: str
    lines: tuple[ExcerptLine, ...]
    is_page: bool = False
    picture: bytes = b""


class Excerpts(Protocol):
    """Reads untrusted documents, so it runs in a confined process."""

    def __call__(
        self, digest: str, member: int, line: int, around: int, *, with_picture: bool = False
    ) -> Awaitable[Excerpt]:
        """The lines from line-around to line+around. FormatError: there is no such line, or the document cannot be read.
        StoreError: there is no such document.
        """
