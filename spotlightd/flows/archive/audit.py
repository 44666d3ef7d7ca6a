"""Checks whether the bucket still has all archived objects, and whether the ledger knows all switched partitions.

The audit lists the bucket and compares names and lengths. That is cheap, and detects a bucket that was emptied in part
or whole. It expects the objects that readers use according to the dataset `archives`, whatever the ledger holds, and
the verified copies that are not in use yet. Each day it also reads some objects back, so that each is read once in
SCRUB_DAYS. While an object is missing or damaged, nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from spotlightd.flows.archive.context import ArchiveContext, HeldError
from spotlightd.flows.archive.verify import read_exact
from spotlightd.log import logger
from spotlightd.model.archive import Fingerprint
from spotlightd.model.partition import Partition, Stage

NEWEST = """
SELECT dataset, partition, generation, event, objects, manifest, rows, bytes, total, mixed, low, high, columns
FROM archives WHERE number IN (SELECT max(number) FROM archives GROUP BY dataset, partition)
"""
SCRUB_DAYS = 30


@dataclass(frozen=True, slots=True)
class AuditResult:
    """The result of an audit: the number of expected objects, a sentence for each defect, and the number of copies read
    back.
    """

    objects: int
    defects: tuple[str, ...]
    read: int = 0


async def audit(context: ArchiveContext, known: Iterable[Partition], today: date, days: int = 1) -> AuditResult:
    """Audit every partition with a verified copy. `days` since the last audit: copies due on any of them are read."""
    archived = [partition for partition in known if partition.stage == "verified"]
    archived += [_make_partition(row, "switched") for row in await _read_newest(context) if row["event"] == "switched"]
    expected = {key: partition for partition in archived for key in (*partition.keys, partition.manifest)}
    sizes: dict[str, int] = {}
    for folder in sorted({key.partition("/")[0] for key in expected}):
        sizes |= {item.key: item.size async for item in context.bucket.list(f"{folder}/")}
    defects = [defect for key, partition in expected.items() if (defect := _find_defect(key, partition, sizes))]
    scrubbed = [] if defects else [partition for partition in archived if _is_scrub_due(partition, today, days)]
    defects += [defect for partition in scrubbed if (defect := await _find_damage(context, partition))]
    if defects:
        logger().error("archive damaged", objects=len(defects), error=defects[0])
    else:
        logger().info("archive audited", objects=len(expected), read=len(scrubbed))
    return AuditResult(len(expected), tuple(defects), len(scrubbed))


def _is_scrub_due(partition: Partition, today: date, days: int) -> bool:
    """Whether the copy is read back today. Digest and day decide, so only the time of the last audit is stored."""
    return (today.toordinal() - int(partition.digest[:8], 16)) % SCRUB_DAYS < days


async def _find_damage(context: ArchiveContext, partition: Partition) -> str:
    try:
        for key in partition.keys:
            async for _ in read_exact(context, partition, key):
                pass
    except HeldError as problem:
        return str(problem)
    return ""


async def _read_newest(context: ArchiveContext) -> list[dict[str, Any]]:
    return (await context.warehouse.rows(NEWEST)).dicts()


def _find_defect(key: str, partition: Partition, sizes: Mapping[str, int]) -> str:
    if key not in sizes:
        return f"{partition.dataset} {partition.id}: object {key} is not in the bucket any more"
    if key in partition.keys and sizes[key] != partition.size:
        return f"{partition.dataset} {partition.id}: object {key} has {sizes[key]} of {partition.size} bytes"
    return ""


async def adopt_archived(context: ArchiveContext) -> int:
    """Enter partitions of the dataset `archives` that the ledger lacks: its file was lost, or restored from a backup.
    Returns their number.

    A copy that readers use is verified. Whether the original still exists is found out when it is to be dropped.
    """
    known = {
        (partition.dataset, partition.id): partition.stage for partition in await context.archive_ledger.partitions()
    }
    adopted = 0
    for row in await _read_newest(context):
        stage = known.get((row["dataset"], row["partition"]))
        valid_stages: tuple[Stage, ...] = (
            ("switched", "dropped", "held") if row["event"] == "switched" else ("restored",)
        )
        if row["dataset"] in context.datasets and stage not in valid_stages:
            await context.archive_ledger.save_partition(_make_partition(row, valid_stages[0]))
            adopted += 1
    if adopted:
        logger().warning("partitions adopted", partitions=adopted)
    return adopted


def _make_partition(row: Mapping[str, Any], stage: Stage) -> Partition:
    fingerprint = Fingerprint(row["rows"], row["total"], row["mixed"], row["low"], row["high"])
    columns = tuple((name, column_type) for name, _, column_type in (text.partition(" ") for text in row["columns"]))
    return Partition(
        row["dataset"], int(row["partition"].split("-")[0]), row["generation"], stage, keys=tuple(row["objects"]),
        manifest=row["manifest"], digest=row["objects"][0].rpartition("/")[2].removesuffix(".parquet"),
        size=row["bytes"], fingerprint=fingerprint, columns=columns,
    )  # fmt: skip
