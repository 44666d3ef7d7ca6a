"""The last steps: readers are switched to the copy by one row in `archives`, and much later the partition is dropped.

Between the two lies a rest that is longer than any question may take, because one that was asked before the switch still
reads the partition. The rest is counted by a clock that nobody sets, in this process: after a restart it begins anew.
"""

from __future__ import annotations

from dataclasses import replace

from spotlightd.errors import StoreError
from spotlightd.flows.archive.context import HERE, ArchiveContext, HeldError
from spotlightd.flows.archive.plan import unmade
from spotlightd.flows.archive.verify import there, unharmed
from spotlightd.model.partition import Partition


async def switch(means: ArchiveContext, partition: Partition) -> Partition:
    """`switched`: from its row in `archives` on, readers take the rows from the bucket. The row may be there already."""
    await there(means, partition)
    if why := await unmade(means, partition):
        return replace(partition, says=why)
    if not await means.index.is_switched(partition):
        await means.index.record(partition, "switched")
    await means.index.show(partition.dataset)
    return replace(partition, stage="switched", says="")


async def drop(means: ArchiveContext, partition: Partition) -> Partition:
    """`dropped`, after both copies were read once more. The partition may be gone already: then it was us, before a crash."""
    await unharmed(means, partition)
    if not await means.index.is_switched(partition):
        raise HeldError(
            f"{partition.dataset} {partition.id} is to be dropped, and `archives` does not say that it was switched"
        )
    if why := await unmade(means, partition):
        return replace(partition, says=why)
    await means.index.show(partition.dataset)
    mark = await means.fingerprint(partition)
    if mark.rows and mark != partition.fingerprint:
        raise HeldError(f"{partition.dataset} {partition.id} holds {mark} now, sealed were {partition.fingerprint}")
    if mark.rows:
        await means.warehouse.execute(f"ALTER TABLE {partition.dataset} DROP PARTITION ID '{partition.id}'")
    sql = f"SELECT count() FROM {partition.dataset} WHERE {HERE}"
    if left := (await means.warehouse.rows(sql, {"partition": partition.id})).rows[0][0]:
        raise StoreError(f"{partition.dataset} {partition.id} was dropped, and {left} rows of it are there")
    return replace(partition, stage="dropped", says="")
