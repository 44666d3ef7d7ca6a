"""The manifest of a backup: its objects with size and SHA-256, and the rows of each partition."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from spotlightd.errors import StoreError
from spotlightd.model.bucket import check_digest, check_key
from spotlightd.ports.storage import Bucket

VERSION, SEALED_VERSION = 1, 2
"""A release that cannot decrypt refuses the second format."""

MANIFESTS, SEALED = "manifests/", "sealed/"
_NAMES = {
    "ledger": re.compile(r"ledger\.sqlite"),
    "settings": re.compile(r"spotlightd\.toml"),
    "source": re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}/){0,8}[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\.py"),
    "document": re.compile(r"[0-9a-f]{64}"),
    "rows": re.compile(r"[a-z][a-z0-9_]{0,59}/[A-Za-z0-9_-]{1,100}"),
    "bucket": re.compile(r"[A-Za-z0-9._=/-]{1,800}"),
}
_NAME_TIME = "%Y%m%dT%H%M%S.%fZ"

Kind = Literal["ledger", "settings", "source", "document", "rows", "bucket"]


@dataclass(frozen=True, slots=True)
class BackupObject:
    """One object of a backup. `name` is what it is in the state: a digest, a file name, a key of the bucket, or the dataset
    and partition of `rows`.
    """

    kind: Kind
    name: str
    key: str
    size: int
    sha256: str
    rows: int = 0

    @property
    def partition(self) -> tuple[str, str]:
        """Dataset and partition id of an object with rows."""
        dataset, _, partition = self.name.partition("/")
        return dataset, partition


@dataclass(frozen=True, slots=True)
class Manifest:
    """A backup: the state as it was at `started`, by a daemon of that release. `sealed`: its objects are encrypted. Sizes and
    digests are those of the plain bytes.
    """

    started: datetime
    release: str
    objects: tuple[BackupObject, ...]
    sealed: bool = False

    def of_kind(self, kind: Kind) -> list[BackupObject]:
        return [item for item in self.objects if item.kind == kind]

    def rows_of(self, dataset: str) -> list[BackupObject]:
        return [item for item in self.of_kind("rows") if item.partition[0] == dataset]


def render_manifest(manifest: Manifest) -> bytes:
    content = {
        "spotlightd_backup": SEALED_VERSION if manifest.sealed else VERSION, "started": manifest.started.isoformat(), "release": manifest.release,
        "objects": [asdict(item) for item in manifest.objects],
    }  # fmt: skip
    return json.dumps(content, ensure_ascii=False, indent=1).encode()


def manifest_key(prefix: str, manifest: Manifest, body: bytes) -> str:
    """The key has the time and the digest: manifests are listed in order, and a damaged one is noticed."""
    return f"{prefix}{MANIFESTS}{manifest.started:{_NAME_TIME}}-{hashlib.sha256(body).hexdigest()}.json"


async def read_manifest(bucket: Bucket, prefix: str, at: datetime | None = None) -> Manifest:
    """The newest backup, or the newest one that was started by that time. StoreError when there is none."""
    keys = [item.key async for item in bucket.list(prefix + MANIFESTS)]
    if at is not None:
        keys = [key for key in keys if _started_at(key, prefix) <= at]
    if not keys:
        until = f" of {at.isoformat()} or earlier" if at else ""
        raise StoreError(f"there is no backup{until}: no object {prefix}{MANIFESTS}*.json")
    return await read_manifest_at(bucket, keys[-1])


async def read_manifest_at(bucket: Bucket, key: str) -> Manifest:
    """The manifest of that key. StoreError when its bytes are not those that its name promises."""
    body = b"".join([piece async for piece in bucket.read(key)])
    if hashlib.sha256(body).hexdigest() != key.rpartition("-")[2].removesuffix(".json"):
        raise damaged(key)
    return _parse_manifest(body, key)


def damaged(key: str) -> StoreError:
    return StoreError(
        f"object {key} of the backup is damaged: its bytes do not have its SHA-256. Restore an earlier backup (--at)"
    )


def _started_at(key: str, prefix: str) -> datetime:
    text = key.removeprefix(prefix + MANIFESTS).partition("-")[0]
    try:
        return datetime.strptime(text, _NAME_TIME).replace(tzinfo=UTC)
    except ValueError:
        raise StoreError(f"{key} is not the name of a manifest: remove it from the backup") from None


def _parse_manifest(body: bytes, key: str) -> Manifest:
    try:
        content = json.loads(body)
        version = content["spotlightd_backup"]
        if version not in {VERSION, SEALED_VERSION}:
            raise StoreError(
                f"{key} has format {version}, and this release knows up to {SEALED_VERSION}: use the release that wrote it"
            )
        objects = tuple(_check_objects(BackupObject(**item) for item in content["objects"]))
        started = datetime.fromisoformat(content["started"])
        return Manifest(started, content["release"], objects, sealed=version == SEALED_VERSION)
    except (ValueError, KeyError, TypeError) as problem:
        raise StoreError(f"{key} is no manifest of a backup: {problem}") from None


def _check_objects(objects: Iterable[Any]) -> Iterable[BackupObject]:
    """No name leaves its folder, whatever the manifest says."""
    for item in objects:
        if item.kind not in get_args(Kind) or not _NAMES[item.kind].fullmatch(item.name):
            raise StoreError(f"the manifest names {str(item.name)[:80]!r}, which is no {item.kind}")
        if item.kind == "bucket":
            check_key(item.name)
        check_key(item.key)
        check_digest(item.sha256)
        yield item
