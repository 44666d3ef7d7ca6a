"""The last steps: one row in `archives` switches readers to the copy, and much later the partition is dropped.

Between the two lies a rest that is longer than any query may take, because a query that began before the switch still
reads the partition. The rest is measured with the monotonic clock of this process, so a restart begins it again.
"""

from __future__ import annotations

from dataclasses import replace

from spotlightd.errors import StoreError
from spotlightd.flows.archive.context import IN_PARTITION, ArchiveContext, HeldError
from spotlightd.flows.archive.plan import find_unfinished_transform
from spotlightd.flows.archive.verify import require_objects, require_undamaged
from spotlightd.model.partition import Partition


async def switch(context: ArchiveContext, partition: Partition) -> Partition:
    """Write the row in `archives` that makes readers use the bucket, unless it exists. Returns the partition as
    `switched`.
    """
    await require_objects(context, partition)
    if obstacle := await find_unfinished_transform(context, partition):
        return replace(partition, detail=obstacle)
    if not await context.index.is_switched(partition):
        await context.index.record(partition, "switched")
    await context.index.refresh_view(partition.dataset)
    return replace(partition, stage="switched", detail="")


async def drop(context: ArchiveContext, partition: Partition) -> Partition:
    """Read both copies once more, then drop the original. Returns the partition as `dropped`. A missing original is no
    error: an earlier attempt dropped it and crashed.
    """
    await require_undamaged(context, partition)
    if not await context.index.is_switched(partition):
        raise HeldError(
            f"{partition.dataset} {partition.id} is due to be dropped, but according to `archives` it was not switched"
        )
    if obstacle := await find_unfinished_transform(context, partition):
        return replace(partition, detail=obstacle)
    await context.index.refresh_view(partition.dataset)
    fingerprint = await context.fingerprint(partition)
    if fingerprint.rows and not await context.is_sealed(partition, fingerprint):
        raise HeldError(
            f"{partition.dataset} {partition.id} holds {fingerprint} now, sealed were {partition.fingerprint}"
        )
    if fingerprint.rows:
        await context.warehouse.execute(f"ALTER TABLE {partition.dataset} DROP PARTITION ID '{partition.id}'")
    sql = f"SELECT count() FROM {partition.dataset} WHERE {IN_PARTITION}"
    if left := (await context.warehouse.rows(sql, {"partition": partition.id})).rows[0][0]:
        raise StoreError(f"{partition.dataset} {partition.id} was dropped, but {left} of its rows are still there")
    return replace(partition, stage="dropped", detail="")
