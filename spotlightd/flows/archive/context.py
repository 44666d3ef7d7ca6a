"""What all steps of the archiver work with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from spotlightd.flows.tempfiles import endless
from spotlightd.model.archive import Fingerprint
from spotlightd.model.dataset import Column, Dataset
from spotlightd.model.partition import Partition
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream
from spotlightd.model.transform import Transform
from spotlightd.ports.ledger import ArchiveLedger, Index, Ledger, Positions
from spotlightd.ports.parser import Verifier
from spotlightd.ports.storage import Bucket
from spotlightd.ports.warehouse import Warehouse
from spotlightd.settings.stores import ArchiveSettings
from spotlightd.sql.fingerprint import selected

HERE = "_partition_id = {partition:String}"


class HeldError(Exception):
    """Two copies are not the same, or something is not as it must be: a person has to look, nothing is dropped."""


@dataclass(frozen=True, slots=True)
class ArchiveContext:
    """`folder` holds files on their way, and `room` raises StoreError when its disk should not take so many bytes more;
    `feeds` are all that write rows, by name.
    """

    datasets: Mapping[str, Dataset]
    feeds: Mapping[str, Batch | Stream | Transform]
    transforms: tuple[Transform, ...]
    warehouse: Warehouse
    bucket: Bucket
    index: Index
    kept: ArchiveLedger
    ledger: Ledger
    positions: Positions
    verifier: Verifier
    folder: Path
    policy: ArchiveSettings
    room: Callable[[int], None] = endless

    def columns(self, partition: Partition) -> tuple[Column, ...]:
        """Those that the partition was sealed with; all that the dataset has now, before it is."""
        known = {one.name: one for one in self.datasets[partition.dataset].stored}
        if not partition.columns:
            return tuple(known.values())
        return tuple(
            Column(name, word, known[name].meaning if name in known else name) for name, word in partition.columns
        )

    async def fingerprint(self, partition: Partition) -> Fingerprint:
        """Of the rows that the warehouse has of the partition."""
        dataset = self.datasets[partition.dataset]
        sql = f"SELECT {selected(self.columns(partition), dataset.time)} FROM {dataset.name} WHERE {HERE}"
        return Fingerprint(*(await self.warehouse.rows(sql, {"partition": partition.id})).rows[0])
