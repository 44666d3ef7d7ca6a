"""Restores rows from the bucket into a table; and the drill, which tests that.

A restored partition goes to its own place in its own table. Readers skip that place while `archives` says that the
partition is switched. One row in `archives` withdraws it, only after its rows are restored and compared. So each row is
read exactly once at every moment. The objects stay in the bucket.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from spotlightd.errors import SettingsError
from spotlightd.flows.archive import repair
from spotlightd.flows.archive.context import ArchiveContext, HeldError
from spotlightd.log import logger
from spotlightd.model.archive import Fingerprint
from spotlightd.model.dataset import DRILL_PREFIX, GENERATION, NAME, REBUILD_PREFIX, Dataset
from spotlightd.model.partition import Partition
from spotlightd.sql.fingerprint import fingerprint_columns

TABLE_EXISTS = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = {name:String}"


@dataclass(frozen=True, slots=True)
class DrillResult:
    """The result of a drill: the drawn partition, and the fingerprint of its restored rows."""

    partition: Partition
    fingerprint: Fingerprint

    @property
    def is_same(self) -> bool:
        return self.fingerprint == self.partition.fingerprint

    @property
    def detail(self) -> str:
        verdict = "same" if self.is_same else f"NOT THE SAME, sealed were {self.partition.fingerprint.rows:,}"
        return f"{self.partition.dataset} {self.partition.id}, {self.fingerprint.rows:,} rows: {verdict}"


async def restore(context: ArchiveContext, partition: Partition) -> Partition:
    """Bring the rows back to the warehouse and let readers use them there. Returns the partition as `restored`, which
    is never archived again automatically. HeldError when a held partition has no verified copy: readers never get
    another.
    """
    dataset = context.datasets[partition.dataset]
    if partition.stage == "held":
        partition = await repair.resolve_held(context, partition)
        if partition.stage == "dropped":
            # saved first, so that an interrupted attempt continues from here
            await context.archive_ledger.save_partition(partition)
    if partition.stage not in ("switched", "dropped"):
        raise SettingsError(f"{partition.dataset} {partition.id} is {partition.stage}: its rows are in the warehouse")
    if not await context.index.is_switched(partition):  # an earlier attempt came this far
        return replace(partition, stage="restored", detail="restored by hand")
    if partition.stage == "dropped":
        # rows of an interrupted attempt; no reader uses them
        await context.warehouse.execute(f"ALTER TABLE {dataset.name} DROP PARTITION ID '{partition.id}'")
        await _insert_objects(context, partition, dataset.name, f", {GENERATION}", f", {partition.generation}")
    if not await context.is_sealed(partition, fingerprint := await context.fingerprint(partition)):
        raise HeldError(
            f"{dataset.name} {partition.id} was restored as {fingerprint}, sealed were {partition.fingerprint}"
        )
    await context.index.record(partition, "withdrawn")
    return replace(partition, stage="restored", detail="restored by hand")


async def restore_into(context: ArchiveContext, partition: Partition, table: str) -> int:
    """Restore into a new table of that name, and return the number of rows. SettingsError when the name is not
    available.
    """
    _scratch_dataset(context, partition, table)
    if table.startswith((REBUILD_PREFIX, DRILL_PREFIX)):
        raise SettingsError(
            f"table name {table!r}: names that begin with {REBUILD_PREFIX} or {DRILL_PREFIX} are reserved"
        )
    if (await context.warehouse.rows(TABLE_EXISTS, {"name": table})).rows[0][0]:
        raise SettingsError(f"table {table} exists already: choose another name, or drop it")
    return (await _restore_to_new_table(context, partition, table)).rows


async def drill(
    context: ArchiveContext, candidates: list[Partition], choose: Callable[[list[Partition]], Partition] = random.choice
) -> DrillResult | None:
    """Restore one of the partitions to a scratch table, compare, and drop the table. None when nothing is archived."""
    archived = [candidate for candidate in candidates if candidate.stage in ("switched", "dropped")]
    if not archived:
        return None
    partition = choose(archived)
    table = f"{DRILL_PREFIX}{partition.dataset}"
    await context.warehouse.execute(f"DROP TABLE IF EXISTS {table} SYNC")
    try:
        result = DrillResult(partition, await _restore_to_new_table(context, partition, table))
    finally:
        await context.warehouse.execute(f"DROP TABLE IF EXISTS {table} SYNC")
    log = logger(dataset=partition.dataset)
    (log.info if result.is_same else log.error)(
        "restore drilled", partition=partition.id, rows=result.fingerprint.rows, same=result.is_same
    )
    return result


def _scratch_dataset(context: ArchiveContext, partition: Partition, table: str) -> Dataset:
    """A dataset of that name with the columns of the partition, without loads and partitions."""
    if not NAME.match(table):
        raise SettingsError(f"table name {table!r}: use lower case letters, digits and _")
    dataset = context.datasets[partition.dataset]
    key = tuple(dataset.order)
    return Dataset(
        name=table, title=f"{dataset.title}, {partition.id}", publisher=dataset.publisher, about=dataset.about,
        columns=context.columns(partition), key=key, order=key, time=dataset.time, rhythm=dataset.rhythm, by_load=False,
    )  # fmt: skip


async def _restore_to_new_table(context: ArchiveContext, partition: Partition, table: str) -> Fingerprint:
    dataset = _scratch_dataset(context, partition, table)
    await context.warehouse.ensure(dataset)
    await _insert_objects(context, partition, table)
    sql = f"SELECT {fingerprint_columns(dataset.stored, dataset.time)} FROM {table}"
    return Fingerprint(*(await context.warehouse.rows(sql)).rows[0])


async def _insert_objects(
    context: ArchiveContext, partition: Partition, table: str, extra_column: str = "", extra_value: str = ""
) -> None:
    await asyncio.to_thread(context.require_space, partition.size)
    columns = context.columns(partition)
    names = ", ".join(column.name for column in columns)
    structure = ", ".join(f"{column.name} {column.type}" for column in columns)
    objects = context.bucket.table(partition.keys, structure)
    await context.warehouse.execute(
        f"INSERT INTO {table} ({names}{extra_column}) SELECT {names}{extra_value} FROM {objects}"
    )
