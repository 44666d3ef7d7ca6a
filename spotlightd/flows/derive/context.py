"""What every derivation is given, and what its flow expects of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from spotlightd.flows.gate import Gate
from spotlightd.flows.loads.publish import Publications
from spotlightd.flows.supervise import Reporter
from spotlightd.model.dataset import Dataset
from spotlightd.ports.ledger import Ledger
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.changes import changed_loads, changed_rows, newer_publications
from spotlightd.sql.tiers import Archives, NoArchives
from spotlightd.sql.visibility import hot_rows


@dataclass(frozen=True, slots=True)
class Backlog:
    """Publications of the inputs that a derivation has not looked at: their number, and the time of the oldest."""

    publications: int
    oldest: datetime

    @property
    def lag_seconds(self) -> float:
        return max(0.0, (datetime.now(UTC) - self.oldest).total_seconds()) if self.publications else 0.0


@dataclass(frozen=True, slots=True)
class DeriveContext:
    """The clients of a derivation. `gate` is closed while a disk is too full for it, or a table lost its rows."""

    ledger: Ledger
    warehouse: Warehouse
    publications: Publications
    gate: Gate = field(default_factory=Gate)
    archives: Archives = NoArchives()

    async def newest_seq(self) -> int:
        return int((await self.warehouse.rows("SELECT max(seq) FROM loads")).rows[0][0])

    async def read_backlog(self, inputs: Sequence[Dataset], since: int, seq: int) -> Backlog:
        sql = f"SELECT count(), min(published_at) FROM loads WHERE {newer_publications(*inputs)}"
        return Backlog(*(await self.warehouse.rows(sql, {"since": since, "seq": seq})).rows[0])

    async def changed_rows(self, dataset: Dataset, since: int, seq: int) -> str:
        """The text after FROM for the rows that changed. Archived partitions are read only if some of them are there."""
        archived = self.archives.archived
        if not dataset.by_load or not archived.of_dataset(dataset.name):
            return changed_rows(dataset, archived)
        loads, values = changed_loads(dataset), {"since": since, "seq": seq}
        published = f"SELECT sum(rows) FROM loads WHERE dataset = '{dataset.name}' AND load_id IN ({loads})"
        stored = f"SELECT count() FROM {hot_rows(dataset, archived)} WHERE load_id IN ({loads})"
        counts = [(await self.warehouse.rows(sql, values)).rows[0][0] for sql in (published, stored)]
        return changed_rows(dataset, archived, only_hot=counts[0] == counts[1])


class DerivationRunner(Protocol):
    """Computes one derivation."""

    async def run_round(self, report: Reporter | None = None) -> int:
        """Compute everything that is due. Returns how many slices or messages that was. StoreError while a store fails;
        what was published by then is not computed again.
        """

    async def compute_again(self) -> int:
        """Compute everything again, from the visible rows of the inputs. Returns as `run_round`."""
