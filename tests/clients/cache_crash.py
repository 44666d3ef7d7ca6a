"""Downloads a document into a cache, and waits in the middle, to be killed. Run as a script: folder and digest."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from spotlightd.clients.bucket.folder import FolderBucket
from tests.clients.documents_world import WatchedBucket, read, tiered


async def main(folder: Path, name: str) -> None:
    async with FolderBucket(folder / "bucket") as inner:
        bucket, pieces = WatchedBucket(inner), 0

        async def wait_forever() -> None:
            nonlocal pieces
            pieces += 1
            if pieces == 2:
                print("in the middle", flush=True)
                await asyncio.Event().wait()

        bucket.before_piece = wait_forever
        async with tiered(folder, bucket) as documents:
            await read(documents, name)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
