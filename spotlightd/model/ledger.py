"""The ledger as the flows see it: what was intended, where each flow stands, what failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

from spotlightd.model.keeping import Owned
from spotlightd.model.provenance import Document, Load, LoadState, Reject, Run
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream
from spotlightd.model.transform import Transform


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger knows of one address: the last answer, and when to ask again."""

    url: str
    covers: str
    digest: str = ""
    etag: str = ""
    last_modified: str = ""
    first_seen: datetime | None = None
    checked_at: datetime | None = None
    outcome: str = ""
    parser: str = ""
    failures: int = 0
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """A backfill that somebody asked for: documents of a source that report days between `first` and `last`.

    It stands in the ledger, so that it is taken up again after a stop. `state`: waiting, running, done or failed.
    """

    source: str
    first: date
    last: date
    number: int = 0
    state: str = "waiting"
    done: int = 0
    total: int = 0
    says: str = ""


class Ledger(Protocol):
    """What was intended, where each flow stands, what failed: one SQLite file, durable at every return."""

    async def known(self, source: str) -> Mapping[str, Known]:
        """By address: all that was ever asked of that source."""

    async def answered(self, source: str, known: Known) -> None:
        """Remember the last answer of an address."""

    async def keep_document(self, document: Document) -> None:
        """A document is kept. The same (digest, address) again changes nothing."""

    async def document(self, digest: str) -> Document | None:
        """The first time that these bytes were fetched."""

    async def documents(self) -> Mapping[str, Owned]:
        """By digest: all that were ever kept."""

    async def record(self, run: Run) -> None: ...

    async def begin_load(
        self, source: Batch | Stream | Transform, digest: str, covers: str, *, derived_from: int = 0
    ) -> Load:
        """A new load, state `loading`, with a load_id that was never used."""

    async def close_load(self, load_id: int) -> Load:
        """No more rows will come with that load."""

    async def loaded(self, load_id: int, rows: Mapping[str, int], rejects: Sequence[Reject]) -> Load: ...

    async def intend(self, load_id: int, seq: int, supersedes: Sequence[int], at: datetime) -> Load:
        """Before the publishing row is written: state `publishing`."""

    async def published(self, load_id: int) -> Load: ...

    async def dead(self, load_id: int, rejects: Sequence[Reject] = ()) -> Load:
        """The load will never be published; its rows, if any, are to be swept."""

    async def swept(self, load_ids: Sequence[int]) -> None: ...

    async def loads(self, source: str = "", *, states: Sequence[LoadState] = ()) -> tuple[Load, ...]:
        """Oldest first."""

    async def adopt(self, loads: Sequence[Load], taken: Mapping[str, int]) -> None:
        """Take over publications that the warehouse has and this ledger does not (a lost or older ledger), and number
        what comes on from above `taken`: by table, the highest number that the warehouse has seen.
        """

    async def restore(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """Take back rows of `history` that this ledger has lost; those it has are left as they are."""

    async def history(self, table: str, after: int, limit: int) -> tuple[tuple[Any, ...], ...]:
        """Rows of a mirrored dataset with an id above `after`, in the column order of that dataset."""

    async def ask(self, wish: Wish) -> Wish:
        """Leave a wish for the daemon, numbered."""

    async def wishes(self, *, number: int = 0) -> tuple[Wish, ...]:
        """Wishes that are not done, oldest first; or the one of that number, done or not."""

    async def answer(self, wish: Wish) -> None:
        """How far a wish is."""
