"""The clients and settings that all steps of the archiver use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from spotlightd.flows.tempfiles import unlimited_space
from spotlightd.model.archive import Fingerprint
from spotlightd.model.bundle import DECODED
from spotlightd.model.dataset import Column, Dataset
from spotlightd.model.derivation import Derivation
from spotlightd.model.derived.transform import Transform
from spotlightd.model.partition import Partition
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream
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
    many more bytes; `table_reason` says why a table that lost its rows is left alone. `feeds`: what fills datasets, by name.
    """

    datasets: Mapping[str, Dataset]
    feeds: Mapping[str, Batch | Stream | Transform | Derivation]
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
    table_reason: Callable[[Iterable[Dataset]], str] = lambda _: ""

    def columns(self, partition: Partition) -> tuple[Column, ...]:
        """The columns at the time of sealing; before that, the present columns of the dataset."""
        known = {column.name: column for column in self.datasets[partition.dataset].stored}
        if not partition.columns:
            return tuple(known.values())
        return tuple(
            Column(name, column_type, known[name].meaning if name in known else name)
            for name, column_type in partition.columns
        )

    async def fingerprint(self, partition: Partition, *, decoded: bool = True) -> Fingerprint:
        """The fingerprint of the rows of the partition in the warehouse; without `decoded`, whenever they were decoded."""
        return await self._fingerprint(partition, f"{partition.dataset} WHERE {IN_PARTITION}", decoded=decoded)

    async def fingerprint_copy(self, partition: Partition, *, decoded: bool = True) -> Fingerprint:
        """The fingerprint of the rows in the bucket, as the engine reads them."""
        structure = ", ".join(f"{column.name} {column.type}" for column in self.columns(partition))
        return await self._fingerprint(partition, self.bucket.table(partition.keys, structure), decoded=decoded)

    async def _fingerprint(self, partition: Partition, rows_of: str, *, decoded: bool) -> Fingerprint:
        columns = [column for column in self.columns(partition) if decoded or column.name != DECODED]
        sql = f"SELECT {fingerprint_columns(columns, self.datasets[partition.dataset].time)} FROM {rows_of}"
        return Fingerprint(*(await self.warehouse.rows(sql, {"partition": partition.id})).rows[0])

    async def is_sealed(self, partition: Partition, fingerprint: Fingerprint) -> bool:
        """Whether the rows in the warehouse, which have that fingerprint, are those of the copy. Rows that were decoded
        again differ only in when that was.
        """
        if fingerprint == partition.fingerprint:
            return True
        if fingerprint.rows != partition.fingerprint.rows:
            return False
        hot = await self.fingerprint(partition, decoded=False)
        return hot == await self.fingerprint_copy(partition, decoded=False)
