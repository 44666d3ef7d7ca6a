"""Whether the bucket still has all that was put there, and whether the ledger knows all that was switched.

The light audit lists the bucket and compares names and lengths: cheap, and enough to notice that somebody emptied or
thinned it out. What it wants is what `archives` says that readers take from there, whatever the ledger says of it, and
copies that are proven and not used yet. Some of the objects are read back too, others each day, so that each is once in
SCRUB_DAYS. While anything is amiss nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from spotlightd.flows.archive.context import ArchiveContext, HeldError
from spotlightd.flows.archive.verify import exactly
from spotlightd.log import logger
from spotlightd.model.archive import Fingerprint
from spotlightd.model.partition import Partition, Stage

NEWEST = """
SELECT dataset, partition, generation, event, objects, manifest, rows, bytes, total, mixed, low, high, columns
FROM archives WHERE number IN (SELECT max(number) FROM archives GROUP BY dataset, partition)
"""
SCRUB_DAYS = 30


@dataclass(frozen=True, slots=True)
class Audited:
    """What an audit found: how many objects should be there, how many were read back, and what is amiss, a sentence each."""

    objects: int
    amiss: tuple[str, ...]
    read: int = 0


async def audit(means: ArchiveContext, known: Iterable[Partition], today: date, days: int = 1) -> Audited:
    """Of every partition whose copy is proven. `days` since the last audit: what had its turn on each of them is read."""
    proven = [one for one in known if one.stage == "verified"]
    proven += [_adopted(row, "switched") for row in await _newest(means) if row["event"] == "switched"]
    wanted = {key: one for one in proven for key in (*one.keys, one.manifest)}
    here: dict[str, int] = {}
    for name in sorted({one.dataset for one in proven}):
        here |= {one.key: one.size async for one in means.bucket.list(f"{name}/")}
    amiss = [said for key, one in wanted.items() if (said := _amiss(key, one, here))]
    scrubbed = [] if amiss else [one for one in proven if _has_its_turn(one, today, days)]
    amiss += [said for one in scrubbed if (said := await _damaged(means, one))]
    if amiss:
        logger().error("archive damaged", objects=len(amiss), error=amiss[0])
    else:
        logger().info("archive audited", objects=len(wanted), read=len(scrubbed))
    return Audited(len(wanted), tuple(amiss), len(scrubbed))


def _has_its_turn(one: Partition, today: date, days: int) -> bool:
    """Drawn by digest and day: nothing has to be remembered but when the last audit was."""
    return (today.toordinal() - int(one.digest[:8], 16)) % SCRUB_DAYS < days


async def _damaged(means: ArchiveContext, one: Partition) -> str:
    try:
        for key in one.keys:
            async for _ in exactly(means, one, key):
                pass
    except HeldError as problem:
        return str(problem)
    return ""


async def _newest(means: ArchiveContext) -> list[dict[str, Any]]:
    return (await means.warehouse.rows(NEWEST)).dicts()


def _amiss(key: str, one: Partition, here: Mapping[str, int]) -> str:
    if key not in here:
        return f"{one.dataset} {one.id}: object {key} is not in the bucket any more"
    if key in one.keys and here[key] != one.size:
        return f"{one.dataset} {one.id}: object {key} has {here[key]} of {one.size} bytes"
    return ""


async def adopt(means: ArchiveContext) -> int:
    """Take over what `archives` knows and the ledger does not: its file was lost, or put back from a backup.

    What readers take from the bucket is proven. Whether the original is gone is found out when it is to be dropped.
    """
    known = {(one.dataset, one.id): one.stage for one in await means.kept.partitions()}
    taken = 0
    for row in await _newest(means):
        stage = known.get((row["dataset"], row["partition"]))
        right: tuple[Stage, ...] = ("switched", "dropped", "held") if row["event"] == "switched" else ("restored",)
        if row["dataset"] in means.datasets and stage not in right:
            await means.kept.keep(_adopted(row, right[0]))
            taken += 1
    if taken:
        logger().warning("partitions adopted", partitions=taken)
    return taken


def _adopted(row: Mapping[str, Any], stage: Stage) -> Partition:
    mark = Fingerprint(row["rows"], row["total"], row["mixed"], row["low"], row["high"])
    columns = tuple((name, word) for name, _, word in (one.partition(" ") for one in row["columns"]))
    return Partition(
        row["dataset"], int(row["partition"].split("-")[0]), row["generation"], stage, keys=tuple(row["objects"]),
        manifest=row["manifest"], digest=row["objects"][0].rpartition("/")[2].removesuffix(".parquet"),
        size=row["bytes"], fingerprint=mark, columns=columns,
    )  # fmt: skip
