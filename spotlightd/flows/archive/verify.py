"""The proof: what is in the bucket is read back, all of it, and counted by code that had no part in writing it.

It is read back once more before the original is dropped: then its bytes are those that were proven.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace

from spotlightd.errors import StoreError
from spotlightd.flows.archive.context import ArchiveContext, HeldError
from spotlightd.flows.archive.export import essence, outgoing, read_manifest
from spotlightd.flows.tempfiles import blamed, housed, written
from spotlightd.model.archive import Fingerprint
from spotlightd.model.partition import Partition


async def prove(means: ArchiveContext, partition: Partition) -> Partition:
    """`verified`. HeldError when the copy is not what was sealed."""
    sent = outgoing(means, partition)
    with blamed(sent):
        await asyncio.to_thread(sent.unlink, missing_ok=True)  # not before the ledger knew that it was sent
    dataset = means.datasets[partition.dataset]
    await there(means, partition)
    found = Fingerprint()
    for key in partition.keys:
        found += await _read_back(means, partition, key)
    if found != partition.fingerprint:
        raise HeldError(f"{dataset.name} {partition.id}: the copy holds {found}, sealed were {partition.fingerprint}")
    await _described(means, partition)
    return replace(partition, stage="verified")


async def unharmed(means: ArchiveContext, partition: Partition) -> None:
    """HeldError unless object and manifest are still those that were proven, byte for byte."""
    await there(means, partition)
    for key in partition.keys:
        async for _ in exactly(means, partition, key):
            pass
    await _described(means, partition)


async def there(means: ArchiveContext, partition: Partition) -> None:
    """HeldError unless the bucket has the objects and the manifest, each of its length."""
    for key in (*partition.keys, partition.manifest):
        found = await means.bucket.head(key)
        if found is None:
            raise HeldError(f"{partition.dataset} {partition.id}: object {key} is not in the bucket any more")
        if key in partition.keys and found.size != partition.size:
            raise HeldError(
                f"{partition.dataset} {partition.id}: object {key} has {found.size} of {partition.size} bytes"
            )


async def exactly(means: ArchiveContext, partition: Partition, key: str) -> AsyncIterator[bytes]:
    """An object's bytes as they come. HeldError at the end unless they are those that were exported; StoreError when the
    store broke off.
    """
    seen, size = hashlib.sha256(), 0
    try:
        async for piece in means.bucket.read(key):
            seen.update(piece)
            size += len(piece)
            yield piece
    except StoreError:
        if size < partition.size:  # else it came to its end, and the store says itself that it is damaged
            raise
    if seen.hexdigest() != partition.digest:
        raise HeldError(
            f"{partition.dataset} {partition.id}: object {key} has not the bytes that were exported: it is damaged"
        )


async def _described(means: ArchiveContext, partition: Partition) -> None:
    try:
        found = json.loads(await read_manifest(means, partition))
    except ValueError:
        found = None
    except StoreError as problem:
        await means.bucket.head(partition.manifest)  # a store that is away says so again
        raise HeldError(f"{partition.dataset} {partition.id}: {problem}") from problem
    wanted = essence(partition)
    if not isinstance(found, dict) or {name: found.get(name) for name in wanted} != wanted:
        raise HeldError(f"{partition.dataset} {partition.id}: its manifest is not the one that was written")


async def _read_back(means: ArchiveContext, partition: Partition, key: str) -> Fingerprint:
    """Of one object, downloaded as a stream."""
    dataset = means.datasets[partition.dataset]
    path = means.folder / "incoming" / f"{partition.dataset}-{partition.id}.parquet"
    await asyncio.to_thread(means.room, partition.size)
    try:
        await written(await housed(path), exactly(means, partition, key), means.room)
        return await means.verifier.fingerprint(path, means.columns(partition), dataset.time)
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)
