"""The way on from `held`, when a person has looked: each copy is compared with what was sealed, and named if it is not that.

What readers take is what `archives` says. A partition that was not switched is read from the warehouse, so it is exported
anew; one that was is read from the bucket, so it goes on only when nothing is wrong with the copy there.
"""

from __future__ import annotations

from dataclasses import replace

from spotlightd.errors import SettingsError
from spotlightd.flows.archive.context import ArchiveContext, HeldError
from spotlightd.flows.archive.verify import prove
from spotlightd.model.archive import Fingerprint
from spotlightd.model.partition import Partition


def remedy(partition: Partition) -> str:
    """What a person may do about it, in a sentence."""
    words = f"{partition.dataset} --partition {partition.id}"
    return f"when you have looked: `spotlightd archive retry {words}`, or `spotlightd restore {words}`"


async def retried(means: ArchiveContext, partition: Partition) -> Partition:
    """Under way again: `sealed` when readers take it from the warehouse, `switched` when they take it from the bucket and
    both copies are what was sealed. HeldError when they are not.
    """
    if partition.stage != "held":
        stays = "it stays in the warehouse" if partition.stage == "restored" else "nothing holds it"
        raise SettingsError(f"{partition.dataset} {partition.id} is {partition.stage}: {stays}")
    mark = await means.fingerprint(partition)
    if not await means.index.is_switched(partition):
        return _anew(partition, mark)
    if wrong := [said for said in (_hot(partition, mark), await _cold(means, partition)) if said]:
        raise HeldError(f"{partition.dataset} {partition.id}: {'; '.join(wrong)}")
    return replace(partition, stage="switched", says="", failures=0, not_before=None)


async def as_it_is(means: ArchiveContext, partition: Partition) -> Partition:
    """A held one as what it is, for a restore: `switched` when the warehouse has its rows, `dropped` when it has none and
    the copy is proven. HeldError, which says what is wrong with each copy, when it is neither.
    """
    if not await means.index.is_switched(partition):
        raise SettingsError(
            f"{partition.dataset} {partition.id} is held and was not switched, so its rows are read from the warehouse:"
            " take it up again with `spotlightd archive retry`"
        )
    mark = await means.fingerprint(partition)
    if mark == partition.fingerprint:
        return replace(partition, stage="switched")
    wrong = await _cold(means, partition)
    if wrong or mark.rows:
        warehouse = _hot(partition, mark) or "the warehouse has no rows of it any more"
        bucket = wrong or "the copy in the bucket is what was sealed"
        raise HeldError(f"{partition.dataset} {partition.id}: {warehouse}; {bucket}")
    return replace(partition, stage="dropped")


def _anew(partition: Partition, mark: Fingerprint) -> Partition:
    """To be exported as it is now. Its seal holds all the while, so `sealed` it is."""
    if not mark.rows:
        raise HeldError(
            f"{partition.dataset} {partition.id}: `archives` does not say that it was switched, and the warehouse has no"
            " rows of it"
        )
    return replace(
        partition, stage="sealed", keys=(), manifest="", digest="", size=0, fingerprint=Fingerprint(), says="", failures=0,
        not_before=None,
    )  # fmt: skip


def _hot(partition: Partition, mark: Fingerprint) -> str:
    """What is wrong with the warehouse's rows. None at all are right: the drop was cut off behind its effect."""
    if not mark.rows or mark == partition.fingerprint:
        return ""
    return f"the warehouse holds {mark}, sealed were {partition.fingerprint}"


async def _cold(means: ArchiveContext, partition: Partition) -> str:
    """What is wrong with the copy in the bucket: it is read back, all of it."""
    try:
        await prove(means, partition)
    except HeldError as problem:
        return str(problem).removeprefix(f"{partition.dataset} {partition.id}: ")
    return ""
