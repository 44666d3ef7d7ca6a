"""Puts a large object into a bucket and is to be killed meanwhile. Run as a script: JSON of what to put where."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from spotlightd.clients.bucket import folder
from spotlightd.clients.bucket.folder import FolderBucket
from spotlightd.clients.bucket.s3 import S3Bucket
from spotlightd.model.bucket import Access
from tests.clients.bucket_world import digest, settings

SIZE = 20_000_000


async def main(told: dict[str, str]) -> None:
    content = bytes(SIZE)
    if "folder" in told:
        vars(folder)["PIECE_BYTES"] = 1 << 14  # so that it takes a while
        async with FolderBucket(Path(told["folder"])) as bucket:
            await bucket.put("large", content, digest(content))
        return
    access = Access(told["access_key"], told["secret_key"], told["prefix"])
    async with S3Bucket(settings(told["url"], read_seconds=60.0), access) as store:
        await store.put("large", content, digest(content))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
