"""What all steps of the archiver work with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from spotlightd.flows.scratch import endless
from spotlightd.model.archive import Fingerprint, Verifier
from spotlightd.model.cold import Archives
from spotlightd.model.dataset import Column, Dataset
from spotlightd.model.drain import Positions
from spotlightd.model.fingerprint import selected
from spotlightd.model.ledger import Ledger
from spotlightd.model.partition import ArchiveLedger, Event, Partition
from spotlightd.model.ports import Bucket, Warehouse
from spotlightd.model.settings import Archive
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream
from spotlightd.model.transform import Transform

HERE = "_partition_id = {partition:String}"


class Index(Archives, Protocol):
    """The index of the archive, and the pen for it."""

    async def record(self, partition: Partition, event: Event) -> None:
        """From now on rows of the partition are read from the bucket, or from the warehouse again. One at a time."""

    async def show(self, name: str) -> None:
        """Bring the dataset's unpinned view in line, if it has one."""

    async def is_switched(self, partition: Partition) -> bool:
        """Whether readers take it from the bucket, as the warehouse says."""


class HeldError(Exception):
    """Two copies are not the same, or something is not as it must be: a person has to look, nothing is dropped."""


@dataclass(frozen=True, slots=True)
class Means:
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
    policy: Archive
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
