"""Puts a large object into a bucket, and is killed meanwhile by the test. Run as a script: its argument is JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from spotlightd.clients.bucket import folder
from spotlightd.clients.bucket.folder import FolderBucket
from spotlightd.clients.bucket.s3 import S3Bucket
from spotlightd.model.bucket import BucketAccess
from tests.clients.bucket_world import digest, make_settings

SIZE = 20_000_000


async def main(target: dict[str, str]) -> None:
    content = bytes(SIZE)
    if "folder" in target:
        vars(folder)["PIECE_BYTES"] = 1 << 14  # so that it takes some time
        async with FolderBucket(Path(target["folder"])) as bucket:
            await bucket.put("large", content, digest(content))
        return
    access = BucketAccess(target["access_key"], target["secret_key"], target["prefix"])
    async with S3Bucket(make_settings(target["url"], read_seconds=60.0), access) as store:
        await store.put("large", content, digest(content))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
