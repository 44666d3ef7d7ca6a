"""The clients and settings that all steps of the archiver use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from spotlightd.flows.tempfiles import unlimited_space
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
from spotlightd.sql.fingerprint import fingerprint_columns

IN_PARTITION = "_partition_id = {partition:String}"


class HeldError(Exception):
    """Two copies differ, or something else is wrong: the partition is held until a person looks, and nothing is
    dropped.
    """


@dataclass(frozen=True, slots=True)
class ArchiveContext:
    """`folder` holds temporary files. `require_space` raises StoreError when the disk of that folder must not take so
    many more bytes. `feeds`: all sources, streams and transforms by name.
    """

    datasets: Mapping[str, Dataset]
    feeds: Mapping[str, Batch | Stream | Transform]
    transforms: tuple[Transform, ...]
    warehouse: Warehouse
    bucket: Bucket
    index: Index
    archive_ledger: ArchiveLedger
    ledger: Ledger
    positions: Positions
    verifier: Verifier
    folder: Path
    policy: ArchiveSettings
    require_space: Callable[[int], None] = unlimited_space

    def columns(self, partition: Partition) -> tuple[Column, ...]:
        """The columns at the time of sealing; before that, the present columns of the dataset."""
        known = {column.name: column for column in self.datasets[partition.dataset].stored}
        if not partition.columns:
            return tuple(known.values())
        return tuple(
            Column(name, column_type, known[name].meaning if name in known else name)
            for name, column_type in partition.columns
        )

    async def fingerprint(self, partition: Partition) -> Fingerprint:
        """The fingerprint of the rows of the partition in the warehouse."""
        dataset = self.datasets[partition.dataset]
        columns = fingerprint_columns(self.columns(partition), dataset.time)
        sql = f"SELECT {columns} FROM {dataset.name} WHERE {IN_PARTITION}"
        return Fingerprint(*(await self.warehouse.rows(sql, {"partition": partition.id})).rows[0])
