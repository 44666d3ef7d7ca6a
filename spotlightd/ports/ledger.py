"""Ports of the ledger: what is about to be done, how far each flow is, and what failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, Protocol

from spotlightd.model.document_tiers import StoredDocument
from spotlightd.model.offsets import Completion, Epoch, Gap, Intent, LostFrame, Position
from spotlightd.model.partition import Check, CheckKind, Event, Partition, RetentionRule
from spotlightd.model.provenance import Document, Run
from spotlightd.ports.loads import Loads
from spotlightd.sql.tiers import Archives


@dataclass(frozen=True, slots=True)
class KnownAddress:
    """One address of a publisher: the last answer, and when to request it again."""

    url: str
    covers: str
    digest: str = ""
    etag: str = ""
    last_modified: str = ""
    first_fetched_at: datetime | None = None
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


class Ledger(Loads, Protocol):
    """Intended work, the progress of each flow, and failures: one SQLite file, durable when a call returns."""

    async def known_addresses(self, source: str, urls: Iterable[str]) -> Mapping[str, KnownAddress]:
        """Those of these addresses that were ever requested for that source, by address."""

    async def addresses_of(self, source: str, digests: Iterable[str]) -> tuple[KnownAddress, ...]:
        """The addresses of that source whose last answer was one of these documents."""

    async def forget_outcomes(self, source: str) -> int:
        """Make all stored documents of a source due, as if its parser had a new version. Returns their addresses' number."""

    async def save_address(self, source: str, known: KnownAddress) -> None:
        """Record the last answer of an address."""

    async def save_document(self, document: Document) -> None:
        """Record a stored document. The same (digest, address) again changes nothing."""

    async def save_stored(self, document: Document, known: KnownAddress) -> None:
        """As `save_document` and `save_address`, in one transaction."""

    async def document(self, digest: str) -> Document | None:
        """The record of the first time that these bytes were fetched."""

    async def documents(self) -> Mapping[str, StoredDocument]:
        """All documents that were ever stored, by digest."""

    async def record(self, run: Run) -> None: ...

    async def record_outcomes(self, outcomes: Sequence[tuple[KnownAddress, Run]]) -> None:
        """As `save_address` and `record` for each, in one transaction."""

    async def restore(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """Write back rows of `history` that this ledger has lost. Rows that it still has do not change."""

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
    """The ledger's tables for streams: the offset of each drain. Durable when a call returns."""

    async def epoch(self, source: str) -> Epoch | None:
        """The newest epoch, None when nothing of that source was ever drained."""

    async def begin_epoch(self, epoch: Epoch, positions: Sequence[Position]) -> None:
        """Start an epoch: offsets belong to this log, drained up to these positions. Open intents of older epochs stay."""

    async def positions(self, source: str) -> Mapping[int, Position]:
        """The positions of the newest epoch, by partition."""

    async def intents(self, source: str) -> tuple[Intent, ...]:
        """Intents that are not done, of any epoch, oldest first."""

    async def intend(self, intent: Intent) -> None: ...

    async def complete(self, *done: Completion) -> None:
        """Delete the intents, move the positions to their `hi`, record the rejected frames: all in one transaction."""

    async def forget(self, intent: Intent) -> None:
        """Delete an intent of which nothing is in the warehouse. The position does not change."""

    async def save_lost_frames(self, source: str, decode: str, lost: Sequence[LostFrame]) -> None:
        """Record frames that could not be decoded in a replay."""

    async def add_gap(self, gap: Gap) -> None: ...

    async def get_feed_state(self, source: str) -> tuple[str, datetime] | None:
        """The last recorded state of a listener, `listening` or `stopped`, and its time."""

    async def save_feed_state(self, source: str, state: str, at: datetime) -> None: ...

    async def get_refused_symbols(self, source: str) -> Mapping[str, datetime]:
        """The symbols that the venue refuses, and since when: what a listener saved last."""

    async def save_refused_symbol(self, source: str, symbol: str, since: datetime | None) -> None:
        """The venue refuses the symbol since then; None: no longer."""


class ArchiveLedger(Protocol):
    """The ledger's tables for partitions that leave the warehouse. Durable when a call returns."""

    async def partitions(self) -> tuple[Partition, ...]:
        """All partitions, oldest first."""

    async def save_partition(self, partition: Partition) -> None:
        """Record the stage of a partition."""

    async def checks(self) -> Mapping[CheckKind, Check]:
        """The last check of each kind."""

    async def save_check(self, kind: CheckKind, check: Check) -> None:
        """Record the last check of that kind."""

    async def accepted_losses(self) -> Mapping[str, int]:
        """The newest publication whose rows are known to be lost, by name of a table that was made again."""

    async def accept_loss(self, table: str, seq: int) -> None:
        """Record that what was published up to that number need not be in the table, and forget how many rows it had."""

    async def row_counts(self) -> Mapping[str, int]:
        """How many rows a stream's table is known to have had, those in the archive included, by name."""

    async def save_row_count(self, table: str, rows: int) -> None:
        """Record how many rows the table has now."""

    async def retention_rules(self) -> Mapping[str, RetentionRule]:
        """How long rows and documents stay on the disk, by name of the rule."""

    async def save_retention_rule(self, rule: RetentionRule) -> None:
        """Record a rule that is in force, or a shorter one that waits."""


class Index(Archives, Protocol):
    """The index of the archive, with write access."""

    async def record(self, partition: Partition, event: Event) -> None:
        """From now on rows of the partition are read from the bucket, or from the warehouse again. One call at a time."""

    async def refresh_view(self, name: str) -> None:
        """Update the dataset's view of current rows, if it has one."""

    async def is_switched(self, partition: Partition) -> bool:
        """Whether the warehouse's index says that readers take the partition from the bucket."""
