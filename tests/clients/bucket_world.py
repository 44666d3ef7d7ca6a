"""What the tests of buckets share: buckets of a real store, and the rights that one needs at least."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from spotlightd.clients.bucket.s3 import S3Bucket
from spotlightd.model.bucket import PROBES, Access
from spotlightd.ports.storage import Bucket, Object
from spotlightd.settings.stores import BucketSettings
from tests.real.store import BUCKET, Store

IMPATIENT: dict[str, Any] = {"connect_seconds": 0.3, "read_seconds": 0.3, "retries": 1}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def kept(bucket: Bucket, key: str, content: bytes) -> Object:
    return await bucket.put(key, content, digest(content))


async def whole(bucket: Bucket, key: str, **span: Any) -> bytes:
    return b"".join([piece async for piece in bucket.read(key, **span)])


async def keys(bucket: Bucket, prefix: str = "") -> list[str]:
    return [one.key async for one in bucket.list(prefix)]


def settings(url: str, **changes: Any) -> BucketSettings:
    return BucketSettings(kind="s3", url=url, name=BUCKET, **changes)


@asynccontextmanager
async def bucket_of(
    store: Store, *, access: Access | None = None, url: str = "", dangling_seconds: float = 86_400, **changes: Any
) -> AsyncIterator[S3Bucket]:
    """A bucket of that store, empty: below a prefix of its own. At `url` when there is something in between."""
    opening = access or Access(store.access_key, store.secret_key, f"tests/{secrets.token_hex(6)}/")
    told = settings(url or store.url, **changes)
    async with S3Bucket(told, opening, dangling_seconds=dangling_seconds) as bucket:
        yield bucket


def least(prefix: str = "") -> dict[str, object]:
    """The rights of docs/operate.md: all that the daemon's key needs, and no delete but of its own probes."""
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
            {"Effect": "Allow", "Action": ["s3:DeleteObject"], "Resource": [f"{objects}{PROBES}*"]},
        ],
    }
