"""Removes the oldest backups of a target, and the objects that none of the others lists.

The manifests go first: a backup whose objects are not all there must not look like one. What a crash leaves is removed
the next time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from spotlightd.errors import StoreError
from spotlightd.flows.backup.manifest import MANIFESTS, read_manifest_at
from spotlightd.ports.storage import Bucket


class ShrinkingBucket(Bucket, Protocol):
    """A bucket for backups, from which objects may be removed."""

    async def remove(self, key: str) -> None:
        """Remove an object if it exists."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed: backups, and objects that no backup lists any more."""

    backups: int
    objects: int


async def prune(target: ShrinkingBucket, prefix: str, keep: int) -> Pruned:
    """Keep the newest backups. Nothing is removed when one of those cannot be read. One backup at a time may use the target."""
    if keep < 1:
        raise StoreError(f"to keep {keep} backups would remove the newest one: keep at least 1")
    keys = [item.key async for item in target.list(prefix)]
    manifests = [key for key in keys if key.startswith(prefix + MANIFESTS)]
    kept = set(manifests[-keep:])
    needed = {item.key for key in sorted(kept) for item in (await read_manifest_at(target, key)).objects}
    outdated = [key for key in manifests if key not in kept]
    unused = [key for key in keys if key not in needed and key not in manifests]
    for key in (*outdated, *unused):
        await target.remove(key)
    return Pruned(len(outdated), len(unused))
