"""Takes documents to a bucket, round after round, to be killed at any moment. Run as a module, with a folder."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from spotlightd.clients.archives import SqliteArchive
from spotlightd.clients.documents import FolderDocuments
from spotlightd.clients.folder_bucket import FolderBucket
from spotlightd.clients.ledger import SqliteLedger
from spotlightd.flows.documents import Policy, Stowing
from spotlightd.flows.gate import Gate
from spotlightd.flows.supervise import Board


async def main(folder: Path) -> None:
    async with (
        FolderDocuments(folder / "documents") as documents,
        FolderBucket(folder / "bucket") as bucket,
        SqliteLedger(folder / "ledger.sqlite") as ledger,
    ):
        policy = Policy({"constructed": 10})
        stowing = Stowing(documents, bucket, ledger, SqliteArchive(ledger), policy, gate=Gate())
        print("begins", flush=True)
        await stowing.round(Board().reporter("documents"))
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
