"""Which copy of a partition counts for readers who have only the bucket: one in the folder of the partition, never two.

A state that went back in time (a restored backup) may archive a partition again whose copy is in the bucket. Rows that
were decoded again differ from that copy only in when they were decoded. They are recognised, and the copy is used. Any
other copy goes below UNCOUNTED, where no recommended path leads: nothing in the bucket can be moved or deleted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from spotlightd.errors import StoreError
from spotlightd.flows.archive.context import ArchiveContext
from spotlightd.log import logger
from spotlightd.model.archive import Fingerprint
from spotlightd.model.partition import Partition
from spotlightd.model.text import count
from spotlightd.ports.storage import Object

UNCOUNTED = "uncounted/"
SUFFIX = ".parquet"
KNOWN_OBJECTS = "SELECT DISTINCT arrayJoin(objects) FROM archives"


def object_folder(partition: Partition) -> str:
    """The folder of the partition's objects, named as Hive does, so that other programs can read them without
    spotlightd.
    """
    return f"{partition.dataset}/archive_day={partition.day}/archive_generation={partition.generation}"


async def find_copy(context: ArchiveContext, partition: Partition) -> Partition | None:
    """The partition with a copy in its folder that has the same rows, if there is one. Its bytes may be others."""
    for item in await _list_others(context, partition):
        if fingerprint := await _recognise(context, partition, item):
            digest = item.key.rpartition("/")[2].removesuffix(SUFFIX)
            manifest = f"{object_folder(partition)}/{digest}.json"
            logger(dataset=partition.dataset).info("copy recognised", partition=partition.id, object=item.key)
            return replace(
                partition, keys=(item.key,), manifest=manifest, digest=digest, size=item.size, fingerprint=fingerprint
            )
    return None


async def choose_folder(context: ArchiveContext, partition: Partition) -> str:
    """Where a new copy goes: into the partition's folder, or below UNCOUNTED when another copy counts there."""
    others = await _list_others(context, partition)
    if not others:
        return object_folder(partition)
    logger(dataset=partition.dataset).error("copy not counted", partition=partition.id, object=others[0].key)
    return f"{UNCOUNTED}{object_folder(partition)}"


async def _list_others(context: ArchiveContext, partition: Partition) -> list[Object]:
    """The Parquet objects in the partition's folder, without the one of these bytes."""
    own, folder = f"{partition.digest}{SUFFIX}", f"{object_folder(partition)}/"
    return [
        item async for item in context.bucket.list(folder) if item.key.endswith(SUFFIX) and not item.key.endswith(own)
    ]


async def _recognise(context: ArchiveContext, partition: Partition, item: Object) -> Fingerprint | None:
    """The fingerprint of an object that has the rows of the partition; None for any other object."""
    candidate = replace(partition, keys=(item.key,))
    try:
        if await context.fingerprint_copy(candidate, decoded=False) == await context.fingerprint(
            partition, decoded=False
        ):
            return await context.fingerprint_copy(candidate)
    except StoreError:
        await (
            context.bucket.ping()
        )  # StoreError again while the store is away; else the object is no copy of these rows
    return None


async def find_unknown(context: ArchiveContext, known: Iterable[Partition]) -> list[str]:
    """The Parquet objects that count and that neither `archives` nor the ledger knows: this state is older than they."""
    expected = {key for (key,) in (await context.warehouse.rows(KNOWN_OBJECTS)).rows}
    for partition in known:
        expected |= {*partition.keys, f"{object_folder(partition)}/{partition.digest}{SUFFIX}"}
    unknown = []
    for name in sorted(name for name, dataset in context.datasets.items() if dataset.split_by):
        keys = [item.key async for item in context.bucket.list(f"{name}/")]
        unknown += [key for key in keys if key.endswith(SUFFIX) and key not in expected]
    return unknown


def describe_unknown(unknown: list[str]) -> str:
    """What the comparison of the bucket with the index found, as a sentence."""
    if not unknown:
        return "the index knows every object that counts in the bucket"
    return (
        f"the bucket holds {count(len(unknown), 'object')} that this state does not know, such as {unknown[0]}: the state"
        " was restored from an older backup, or another instance writes to this bucket. Rows that come again are"
        f" recognised, others go below {UNCOUNTED}: see docs/archive.md"
    )
