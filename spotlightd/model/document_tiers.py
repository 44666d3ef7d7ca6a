"""Where raw documents are stored: in the folder of this machine, also in the bucket, or only in the bucket."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class LocalDocument:
    """A document that has been in the folder since `at`."""

    digest: str
    size: int
    at: datetime


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document that was fetched, and for which sources, as the ledger records it, wherever its bytes are."""

    digest: str
    size: int
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tally:
    """A number of documents, and their total size."""

    documents: int = 0
    bytes: int = 0


def tally(sizes: Iterable[int]) -> Tally:
    known = tuple(sizes)
    return Tally(len(known), sum(known))


@dataclass(frozen=True, slots=True)
class DocumentTiers:
    """Where the documents were at the last check: `local` in the folder, `copied` in the bucket, `bucket_only` in
    the bucket and not in the folder.

    `hot_days` has the sources whose documents leave the folder; `shortened` has a sentence for each shorter rule that
    waits for a day. `problems` are sentences; while there are any, nothing
    is dropped. `at` is None before the first check.
    """

    local: Tally = Tally()
    copied: Tally = Tally()
    bucket_only: Tally = Tally()
    problems: tuple[str, ...] = ()
    at: datetime | None = None
    hot_days: Mapping[str, int] = field(default_factory=dict, compare=False)
    shortened: tuple[str, ...] = ()
