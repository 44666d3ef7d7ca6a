"""Where raw documents lie: in the folder of this machine, in the bucket too, or there alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Local:
    """A document that lies in the folder, since `at`."""

    digest: str
    size: int
    at: datetime


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document that was fetched once, and for which sources: the ledger's word, wherever its bytes are."""

    digest: str
    size: int
    sources: tuple[str, ...]


class LocalDocuments(Protocol):
    """The folder as its flow sees it. Every document of it has a file; `Documents` reads those that have none too."""

    def file(self, digest: str) -> AbstractAsyncContextManager[Path]:
        """The document's file, which stays while the block runs."""

    def local(self) -> AsyncIterator[Local]:
        """All that is here, in the order of their digests."""

    async def drop(self, digest: str) -> bool:
        """Remove the file, for good, unless somebody reads it; whether it is gone."""


@dataclass(frozen=True, slots=True)
class Tally:
    """So many documents, and their length together."""

    documents: int = 0
    bytes: int = 0


def tally(sizes: Iterable[int]) -> Tally:
    some = tuple(sizes)
    return Tally(len(some), sum(some))


@dataclass(frozen=True, slots=True)
class DocumentTiers:
    """Where the documents were at the last look: in the folder, in the bucket, and of these in the bucket alone.

    `hot_days` by source, of those whose documents leave the folder. `amiss` are sentences; while there are any, nothing
    is dropped. `at` None: there was no look yet.
    """

    local: Tally = Tally()
    copied: Tally = Tally()
    alone: Tally = Tally()
    amiss: tuple[str, ...] = ()
    at: datetime | None = None
    hot_days: Mapping[str, int] = field(default_factory=dict, compare=False)
