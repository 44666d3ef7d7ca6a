"""Sealing: rows that come from now on carry the next generation, so that a partition holds what it holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from spotlightd.flows.archive.means import Means
from spotlightd.flows.archive.plan import obstacle
from spotlightd.model.partition import Partition


async def seal(means: Means, partition: Partition, known: Iterable[Partition]) -> Partition:
    """`sealed`, or the partition as it was, with what stands in the way.

    What stands in the way is asked for again when the seal is on: then no new writer can come, but one may have come
    in between, and what he writes may have got the old generation.
    """
    if why := await obstacle(means, partition):
        return replace(partition, says=why)
    await means.warehouse.seal(means.datasets[partition.dataset], generations([*known, partition], partition.dataset))
    if why := await obstacle(means, partition):
        return replace(partition, says=why)
    columns = tuple((one.name, one.type) for one in means.datasets[partition.dataset].stored)
    return replace(partition, stage="sealed", columns=columns, says="")


def generations(known: Iterable[Partition], dataset: str) -> dict[int, int]:
    """By number, the generation that new rows of a sealed partition get."""
    found: dict[int, int] = {}
    for one in sorted(known, key=lambda one: (one.number, one.generation)):
        if one.dataset == dataset:
            found[one.number] = one.generation + 1
    return found
