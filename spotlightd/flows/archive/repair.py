"""Takes up a held partition again after a person has looked. It compares each copy with the fingerprint at sealing.

The dataset `archives` says where readers find the rows. A partition that was not switched is read from the warehouse,
so it is exported again. A switched partition is read from the bucket, so it continues only if the copy there is intact.
"""

from __future__ import annotations

from dataclasses import replace

from spotlightd.errors import SettingsError
from spotlightd.flows.archive.context import ArchiveContext, HeldError
from spotlightd.flows.archive.verify import prove
from spotlightd.model.archive import Fingerprint
from spotlightd.model.partition import Partition


def describe_remedy(partition: Partition) -> str:
    """What a person can do about a held partition, in a sentence."""
    arguments = f"{partition.dataset} --partition {partition.id}"
    return f"find the cause, then run `spotlightd archive retry {arguments}` or `spotlightd restore {arguments}`"


async def retry_held(context: ArchiveContext, partition: Partition) -> Partition:
    """The partition at the stage from which it continues: `sealed` when readers use the warehouse, `switched` when they
    use the bucket and both copies are as sealed. HeldError when a copy is not.
    """
    if partition.stage != "held":
        reason = "it stays in the warehouse" if partition.stage == "restored" else "it is not held"
        raise SettingsError(f"{partition.dataset} {partition.id} is {partition.stage}: {reason}")
    fingerprint = await context.fingerprint(partition)
    if not await context.index.is_switched(partition):
        return _export_again(partition, fingerprint)
    defects = [await _compare_warehouse(context, partition, fingerprint), await _compare_bucket(context, partition)]
    if any(defects):
        raise HeldError(f"{partition.dataset} {partition.id}: {'; '.join(filter(None, defects))}")
    return replace(partition, stage="switched", detail="", failures=0, not_before=None)


async def resolve_held(context: ArchiveContext, partition: Partition) -> Partition:
    """A held partition at its real stage, for a restore: `switched` when the warehouse has its rows, `dropped` when it
    has none and the copy is verified. Otherwise a HeldError that describes the defect of each copy.
    """
    if not await context.index.is_switched(partition):
        raise SettingsError(
            f"{partition.dataset} {partition.id} is held and was not switched, so its rows are read from the warehouse:"
            " continue with `spotlightd archive retry`"
        )
    fingerprint = await context.fingerprint(partition)
    if await context.is_sealed(partition, fingerprint):
        return replace(partition, stage="switched")
    defect = await _compare_bucket(context, partition)
    if defect or fingerprint.rows:
        warehouse = (
            await _compare_warehouse(context, partition, fingerprint) or "the warehouse has no rows of it any more"
        )
        bucket = defect or "the copy in the bucket is as sealed"
        raise HeldError(f"{partition.dataset} {partition.id}: {warehouse}; {bucket}")
    return replace(partition, stage="dropped")


def _export_again(partition: Partition, fingerprint: Fingerprint) -> Partition:
    """The partition as `sealed`, to be exported with its present rows. Its seal was in force all the time."""
    if not fingerprint.rows:
        raise HeldError(
            f"{partition.dataset} {partition.id}: according to `archives` it was not switched, and the warehouse has no"
            " rows of it"
        )
    return replace(
        partition, stage="sealed", keys=(), manifest="", digest="", size=0, fingerprint=Fingerprint(), detail="", failures=0,
        not_before=None,
    )  # fmt: skip


async def _compare_warehouse(context: ArchiveContext, partition: Partition, fingerprint: Fingerprint) -> str:
    """The defect of the warehouse's rows, or empty. No rows at all are right: the drop was interrupted after its
    effect.
    """
    if not fingerprint.rows or await context.is_sealed(partition, fingerprint):
        return ""
    return f"the warehouse holds {fingerprint}, sealed were {partition.fingerprint}"


async def _compare_bucket(context: ArchiveContext, partition: Partition) -> str:
    """The defect of the copy in the bucket, or empty. The whole copy is read back."""
    try:
        await prove(context, partition)
    except HeldError as problem:
        return str(problem).removeprefix(f"{partition.dataset} {partition.id}: ")
    return ""
