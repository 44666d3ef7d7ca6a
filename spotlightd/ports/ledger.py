"""The ledger as the flows see it: what was intended, where each flow stands, what failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, Protocol

from spotlightd.model.document_tiers import StoredDocument
from spotlightd.model.offsets import Epoch, Gap, Intent, LostFrame, Position
from spotlightd.model.partition import Check, CheckKind, Event, Partition
from spotlightd.model.provenance import Document, Load, LoadState, Reject, Run
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream
from spotlightd.model.transform import Transform
from spotlightd.sql.tiers import Archives


@dataclass(frozen=True, slots=True)
class KnownAddress:
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


JobKind = Literal["backfill", "replay", "archive", "retry", "restore", "drill"]
JobState = Literal["waiting", "running", "done", "failed"]


@dataclass(frozen=True, slots=True)
class Job:
    """Work that a command asks the running daemon for. It is a row of the ledger, so a restarted daemon continues it.

    `target` is the source of a backfill, the stream of a replay, the dataset of a retry or restore; `first` and `last`
    are the days of a backfill or replay; `partition` and `into` (a new table) belong to retry and restore.
    """

    kind: JobKind
    target: str = ""
    first: date = date.min
    last: date = date.max
    partition: str = ""
    into: str = ""
    number: int = 0
    state: JobState = "waiting"
    done: int = 0
    total: int = 0
    detail: str = ""

    @property
    def has_ended(self) -> bool:
        return self.state in {"done", "failed"}

    def __str__(self) -> str:
        return " ".join(part for part in (self.kind, self.target, self.partition, self.into) if part)


class Ledger(Protocol):
    """What was intended, where each flow stands, what failed: one SQLite file, durable at every return."""

    async def known(self, source: str) -> Mapping[str, KnownAddress]:
        """By address: all that was ever asked of that source."""

    async def answered(self, source: str, known: KnownAddress) -> None:
        """Remember the last answer of an address."""

    async def keep_document(self, document: Document) -> None:
        """A document is kept. The same (digest, address) again changes nothing."""

    async def document(self, digest: str) -> Document | None:
        """The first time that these bytes were fetched."""

    async def documents(self) -> Mapping[str, StoredDocument]:
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

    async def add_job(self, job: Job) -> Job:
        """Queue a job for the daemon; returns it with its number."""

    async def open_jobs(self, *kinds: JobKind) -> tuple[Job, ...]:
        """The jobs of these kinds that have not ended, oldest first."""

    async def job(self, number: int) -> Job:
        """The job with that number, open or ended. StoreError when there is none."""

    async def update_job(self, job: Job) -> None:
        """Save the state, progress and detail of a job."""


class Positions(Protocol):
    """The ledger's part for streams: where each drain stands. Durable at every return."""

    async def epoch(self, source: str) -> Epoch | None:
        """The newest, None when nothing of that source was ever drained."""

    async def begin_epoch(self, epoch: Epoch, positions: Sequence[Position]) -> None:
        """From now on offsets are of this log, and drained up to these positions; open intents of older ones stay."""

    async def positions(self, source: str) -> Mapping[int, Position]:
        """By partition, of the newest epoch."""

    async def intents(self, source: str) -> tuple[Intent, ...]:
        """Those that are not done, oldest first, of any epoch."""

    async def intend(self, intent: Intent) -> None: ...

    async def done(self, intent: Intent, key: bytes, lost: Sequence[LostFrame] = ()) -> None:
        """The intent's frames and rows are durable: forget it, move the position to `hi`, keep what was rejected."""

    async def forget(self, intent: Intent) -> None:
        """Nothing of the intent is in the warehouse, and the position stays where it is."""

    async def keep_lost(self, source: str, decode: str, lost: Sequence[LostFrame]) -> None:
        """Frames that could not be decoded in a replay."""

    async def gap(self, gap: Gap) -> None: ...

    async def feed(self, source: str) -> tuple[str, datetime] | None:
        """What a listener last noted of itself, and when: `listening` or `stopped`."""

    async def note_feed(self, source: str, state: str, at: datetime) -> None: ...


class ArchiveLedger(Protocol):
    """What the ledger knows of partitions on their way. Durable at every return."""

    async def partitions(self) -> tuple[Partition, ...]:
        """All of them, oldest first."""

    async def keep(self, partition: Partition) -> None:
        """Remember how far it is."""

    async def checks(self) -> Mapping[CheckKind, Check]:
        """The last of each kind."""

    async def note(self, kind: CheckKind, check: Check) -> None:
        """Remember the last of that kind."""


class Index(Archives, Protocol):
    """The index of the archive, and the pen for it."""

    async def record(self, partition: Partition, event: Event) -> None:
        """From now on rows of the partition are read from the bucket, or from the warehouse again. One at a time."""

    async def show(self, name: str) -> None:
        """Bring the dataset's unpinned view in line, if it has one."""

    async def is_switched(self, partition: Partition) -> bool:
        """Whether readers take it from the bucket, as the warehouse says."""
