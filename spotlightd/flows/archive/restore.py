"""The way back: rows from the bucket into a table again, and the drill that tries it out.

A partition that is restored goes into its own place in its own table, where no reader looks while `archives` says that it
is switched; only when its rows are there, and are the same, does one row withdraw it. So each row is read once at every
moment on this way too. The objects stay where they are.
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
from spotlightd.model.dataset import ANEW, DRILL, GENERATION, NAME, Dataset
from spotlightd.model.partition import Partition
from spotlightd.sql.fingerprint import selected

TAKEN = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = {name:String}"


@dataclass(frozen=True, slots=True)
class Drilled:
    """What a drill found: `same` when the restored rows are those that were sealed."""

    partition: Partition
    found: Fingerprint

    @property
    def same(self) -> bool:
        return self.found == self.partition.fingerprint

    @property
    def says(self) -> str:
        verdict = "same" if self.same else f"NOT THE SAME, sealed were {self.partition.fingerprint.rows:,}"
        return f"{self.partition.dataset} {self.partition.id}, {self.found.rows:,} rows: {verdict}"


async def restore(means: ArchiveContext, partition: Partition) -> Partition:
    """`restored`: the rows are in the warehouse again and read from there. It is not archived again by itself.

    HeldError when a held one has no copy that is proven: readers are never sent to another.
    """
    dataset = means.datasets[partition.dataset]
    if partition.stage == "held":
        partition = await repair.as_it_is(means, partition)
        if partition.stage == "dropped":
            await means.kept.keep(partition)  # an attempt that is cut off while it fills goes on from here
    if partition.stage not in ("switched", "dropped"):
        raise SettingsError(f"{partition.dataset} {partition.id} is {partition.stage}: its rows are in the warehouse")
    if not await means.index.is_switched(partition):  # an attempt before this one came so far
        return replace(partition, stage="restored", says="restored by hand")
    if partition.stage == "dropped":
        # what an attempt before this one left half-done: nobody reads it
        await means.warehouse.execute(f"ALTER TABLE {dataset.name} DROP PARTITION ID '{partition.id}'")
        await _fill(means, partition, dataset.name, f", {GENERATION}", f", {partition.generation}")
    if (found := await means.fingerprint(partition)) != partition.fingerprint:
        raise HeldError(f"{dataset.name} {partition.id} was restored as {found}, sealed were {partition.fingerprint}")
    await means.index.record(partition, "withdrawn")
    return replace(partition, stage="restored", says="restored by hand")


async def restore_into(means: ArchiveContext, partition: Partition, table: str) -> int:
    """Into a table of that name, made for it: how many rows. SettingsError when the name is taken, or one of ours."""
    _copied(means, partition, table)
    if table.startswith((ANEW, DRILL)):
        raise SettingsError(f"table name {table!r}: names that begin with {ANEW} or {DRILL} are ours, and thrown away")
    if (await means.warehouse.rows(TAKEN, {"name": table})).rows[0][0]:
        raise SettingsError(f"there is a table {table} already: name another, or drop it")
    return (await _into(means, partition, table)).rows


async def drill(
    means: ArchiveContext, candidates: list[Partition], chosen: Callable[[list[Partition]], Partition] = random.choice
) -> Drilled | None:
    """Restore one of them to a scratch table, compare, and throw the table away; None when nothing is archived."""
    kept = [one for one in candidates if one.stage in ("switched", "dropped")]
    if not kept:
        return None
    partition = chosen(kept)
    table = f"{DRILL}{partition.dataset}"
    await means.warehouse.execute(f"DROP TABLE IF EXISTS {table} SYNC")
    try:
        found = Drilled(partition, await _into(means, partition, table))
    finally:
        await means.warehouse.execute(f"DROP TABLE IF EXISTS {table} SYNC")
    say = logger(dataset=partition.dataset)
    (say.info if found.same else say.error)(
        "restore drilled", partition=partition.id, rows=found.found.rows, same=found.same
    )
    return found


def _copied(means: ArchiveContext, partition: Partition, table: str) -> Dataset:
    """A dataset of that name with the columns of the partition's. No loads, no partitions: a table to look at."""
    if not NAME.match(table):
        raise SettingsError(f"table name {table!r}: use lower case letters, digits and _")
    dataset = means.datasets[partition.dataset]
    key = tuple(dataset.order)
    return Dataset(
        name=table, title=f"{dataset.title}, {partition.id}", publisher=dataset.publisher, about=dataset.about,
        columns=means.columns(partition), key=key, order=key, time=dataset.time, rhythm=dataset.rhythm, by_load=False,
    )  # fmt: skip


async def _into(means: ArchiveContext, partition: Partition, table: str) -> Fingerprint:
    copied = _copied(means, partition, table)
    await means.warehouse.ensure(copied)
    await _fill(means, partition, table)
    sql = f"SELECT {selected(copied.stored, copied.time)} FROM {table}"
    return Fingerprint(*(await means.warehouse.rows(sql)).rows[0])


async def _fill(means: ArchiveContext, partition: Partition, table: str, more: str = "", values: str = "") -> None:
    await asyncio.to_thread(means.room, partition.size)
    columns = means.columns(partition)
    names = ", ".join(column.name for column in columns)
    structure = ", ".join(f"{column.name} {column.type}" for column in columns)
    objects = means.bucket.table(partition.keys, structure)
    await means.warehouse.execute(f"INSERT INTO {table} ({names}{more}) SELECT {names}{values} FROM {objects}")
