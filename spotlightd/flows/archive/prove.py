"""The proof: what is in the bucket is read back, all of it, and counted by code that had no part in writing it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace

from spotlightd.flows.archive.export import manifest, read_manifest
from spotlightd.flows.archive.means import HeldError, Means
from spotlightd.flows.archive.scratch import written
from spotlightd.model.archive import Fingerprint
from spotlightd.model.partition import Partition


async def prove(means: Means, partition: Partition) -> Partition:
    """`verified`. HeldError when the copy is not what was sealed."""
    dataset = means.datasets[partition.dataset]
    found = Fingerprint()
    for key in partition.keys:
        found += await _read_back(means, partition, key)
    if found != partition.fingerprint:
        raise HeldError(f"{dataset.name} {partition.id}: the copy holds {found}, sealed were {partition.fingerprint}")
    if await read_manifest(means, partition) != manifest(means, partition):
        raise HeldError(f"{dataset.name} {partition.id}: its manifest is not the one that was written")
    return replace(partition, stage="verified")


async def _read_back(means: Means, partition: Partition, key: str) -> Fingerprint:
    """Of one object, downloaded as a stream. HeldError when its bytes are not those that were exported."""
    dataset = means.datasets[partition.dataset]
    path = means.folder / "incoming" / f"{partition.dataset}-{partition.id}.parquet"
    seen = hashlib.sha256()
    try:
        await written(path, _seen(means.bucket.read(key), seen))
        if seen.hexdigest() != partition.digest:
            raise HeldError(f"{dataset.name} {partition.id}: object {key} has not the bytes that were exported")
        return await means.verifier.fingerprint(path, means.columns(partition), dataset.time)
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)


async def _seen(pieces: AsyncIterator[bytes], by: hashlib._Hash) -> AsyncIterator[bytes]:
    async for piece in pieces:
        by.update(piece)
        yield piece
