"""Ports for work on untrusted bytes, which runs in confined child processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from spotlightd.model.archive import Fingerprint
from spotlightd.model.dataset import Column
from spotlightd.model.provenance import Reject
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream


@dataclass(frozen=True, slots=True)
class Parsed:
    """What the parser found once it has read the whole document."""

    rows: Mapping[str, int]
    rejects: tuple[Reject, ...]
    lines: int


class Parsing(Protocol):
    """A document being parsed: one Arrow IPC stream per dataset, `load_id` included, in `dataset.stored` order.

    All streams are to be read at the same time: the parser writes them as rows come. `parsed` waits for the end and
    raises FormatError for a document that is not what it should be (the streams then end early).
    """

    def columns(self, dataset: str) -> AsyncIterator[bytes]: ...

    @property
    def rejects(self) -> tuple[Reject, ...]:
        """Those found so far; also of a document that was refused."""

    async def parsed(self) -> Parsed: ...


class Parser(Protocol):
    """Reads untrusted bytes apart from the daemon, with limits of memory, processor and wall time."""

    def parse(
        self, source: Batch | Stream, path: Path, name: str, *, load_id: int
    ) -> AbstractAsyncContextManager[Parsing]:
        """Leaving the block ends the parsing, finished or not."""


class Verifier(Protocol):
    """Reads Parquet files by other code than wrote them, apart from the daemon, with limits of memory and time."""

    async def fingerprint(self, path: Path, columns: Sequence[Column], time: str) -> Fingerprint:
        """Of a local file, which must hold exactly these columns. StoreError when it is not such a file, or beyond the
        limits.
        """


@dataclass(frozen=True, slots=True)
class ExcerptLine:
    """One line of a document, without its line end; at most some thousand characters of it."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The surroundings of a line. `name` is the member's name inside an archive, empty when the document is none."""

    name: str
    lines: tuple[ExcerptLine, ...]


Excerpts = Callable[[str, int, int, int], Awaitable[Excerpt]]
"""(digest, member, line, around) → the lines from line-around to line+around. Reads untrusted archives, so it runs
in a limited process. FormatError: there is no such place, or the document cannot be read. StoreError: no document."""
