"""The verification: code that had no part in writing the copy reads all of it back and computes its fingerprint.

Before the original is dropped, the copy is read once more, and its bytes must be the verified ones.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace

from spotlightd.errors import StoreError
from spotlightd.flows.archive.context import ArchiveContext, HeldError
from spotlightd.flows.archive.export import export_path, manifest_facts, read_manifest
from spotlightd.flows.tempfiles import make_parent_folder, wrap_disk_errors, write_file
from spotlightd.model.archive import Fingerprint
from spotlightd.model.partition import Partition


async def prove(context: ArchiveContext, partition: Partition) -> Partition:
    """Verify the copy. Returns the partition as `verified`; HeldError when the copy differs from the sealed rows."""
    exported = export_path(context, partition)
    with wrap_disk_errors(exported):
        await asyncio.to_thread(exported.unlink, missing_ok=True)  # only now, when the ledger has the upload
    dataset = context.datasets[partition.dataset]
    await require_objects(context, partition)
    fingerprint = Fingerprint()
    for key in partition.keys:
        fingerprint += await _fingerprint_object(context, partition, key)
    if fingerprint != partition.fingerprint:
        raise HeldError(
            f"{dataset.name} {partition.id}: the copy holds {fingerprint}, sealed were {partition.fingerprint}"
        )
    await _check_manifest(context, partition)
    return replace(partition, stage="verified")


async def require_undamaged(context: ArchiveContext, partition: Partition) -> None:
    """HeldError unless objects and manifest are still the verified ones, byte for byte."""
    await require_objects(context, partition)
    for key in partition.keys:
        async for _ in read_exact(context, partition, key):
            pass
    await _check_manifest(context, partition)


async def require_objects(context: ArchiveContext, partition: Partition) -> None:
    """HeldError unless the bucket has the manifest and all objects, and each object has the right length."""
    for key in (*partition.keys, partition.manifest):
        item = await context.bucket.head(key)
        if item is None:
            raise HeldError(f"{partition.dataset} {partition.id}: object {key} is not in the bucket any more")
        if key in partition.keys and item.size != partition.size:
            raise HeldError(
                f"{partition.dataset} {partition.id}: object {key} has {item.size} of {partition.size} bytes"
            )


async def read_exact(context: ArchiveContext, partition: Partition, key: str) -> AsyncIterator[bytes]:
    """The bytes of an object as they arrive. HeldError at the end unless they are the exported ones; StoreError when
    the transfer breaks off.
    """
    sha256, size = hashlib.sha256(), 0
    try:
        async for piece in context.bucket.read(key):
            sha256.update(piece)
            size += len(piece)
            yield piece
    except StoreError:
        if (
            size < partition.size
        ):  # with all bytes here, the error is the store's own check, and the digest below decides
            raise
    if sha256.hexdigest() != partition.digest:
        raise HeldError(
            f"{partition.dataset} {partition.id}: object {key} does not have the exported bytes: it is damaged"
        )


async def _check_manifest(context: ArchiveContext, partition: Partition) -> None:
    try:
        content = json.loads(await read_manifest(context, partition))
    except ValueError:
        content = None
    except StoreError as problem:
        await context.bucket.head(partition.manifest)  # raises StoreError again when the store is away
        raise HeldError(f"{partition.dataset} {partition.id}: {problem}") from problem
    expected = manifest_facts(partition)
    if not isinstance(content, dict) or {name: content.get(name) for name in expected} != expected:
        raise HeldError(
            f"{partition.dataset} {partition.id}: its manifest in the bucket is not the one that was written"
        )


async def _fingerprint_object(context: ArchiveContext, partition: Partition, key: str) -> Fingerprint:
    """Download one object to a temporary file and compute its fingerprint."""
    dataset = context.datasets[partition.dataset]
    path = context.folder / "incoming" / f"{partition.dataset}-{partition.id}.parquet"
    await asyncio.to_thread(context.require_space, partition.size)
    try:
        await write_file(await make_parent_folder(path), read_exact(context, partition, key), context.require_space)
        return await context.verifier.fingerprint(path, context.columns(partition), dataset.time)
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)
