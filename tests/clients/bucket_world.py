"""Helpers of the tests of buckets: buckets of a real store, and the least rights that a key needs."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from spotlightd.clients.bucket.s3 import S3Bucket
from spotlightd.model.bucket import PROBE_PREFIX, BucketAccess
from spotlightd.ports.storage import Bucket, Object
from spotlightd.settings.stores import BucketSettings
from tests.real.store import BUCKET, Store

SHORT_TIMEOUTS: dict[str, Any] = {"connect_seconds": 0.3, "read_seconds": 0.3, "retries": 1}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def put_object(bucket: Bucket, key: str, content: bytes) -> Object:
    return await bucket.put(key, content, digest(content))


async def read_object(bucket: Bucket, key: str, **span: Any) -> bytes:
    return b"".join([piece async for piece in bucket.read(key, **span)])


async def list_keys(bucket: Bucket, prefix: str = "") -> list[str]:
    return [item.key async for item in bucket.list(prefix)]


def make_settings(url: str, **changes: Any) -> BucketSettings:
    return BucketSettings(kind="s3", url=url, name=BUCKET, **changes)


@asynccontextmanager
async def open_bucket(
    store: Store, *, access: BucketAccess | None = None, url: str = "", dangling_seconds: float = 86_400, **changes: Any
) -> AsyncIterator[S3Bucket]:
    """An empty bucket of that store, below a prefix of its own. `url` is that of a proxy in front of the store."""
    own_access = access or BucketAccess(store.access_key, store.secret_key, f"tests/{secrets.token_hex(6)}/")
    bucket_settings = make_settings(url or store.url, **changes)
    async with S3Bucket(bucket_settings, own_access, dangling_seconds=dangling_seconds) as bucket:
        yield bucket


def least_rights(prefix: str = "") -> dict[str, object]:
    """The rights of docs/operate.md: all that the daemon's key needs, with deletion of its own probes only."""
    objects = f"arn:aws:s3:::{BUCKET}/{prefix}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket", "s3:ListBucketMultipartUploads"],
                "Resource": [f"arn:aws:s3:::{BUCKET}"],
            },
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"],
                "Resource": [f"{objects}*"],
            },
            {"Effect": "Allow", "Action": ["s3:DeleteObject"], "Resource": [f"{objects}{PROBE_PREFIX}*"]},
        ],
    }
