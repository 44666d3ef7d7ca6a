"""Copies documents to a bucket, until it is killed. Run as a module, with a folder."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from spotlightd.clients.bucket.folder import FolderBucket
from spotlightd.clients.documents.folder import FolderDocuments
from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.clients.ledger.partitions import SqliteArchive
from spotlightd.flows.gate import Gate
from spotlightd.flows.supervise import Board
from spotlightd.flows.upkeep.documents import DocumentTiering, TieringPolicy


async def main(folder: Path) -> None:
    async with (
        FolderDocuments(folder / "documents") as documents,
        FolderBucket(folder / "bucket") as bucket,
        SqliteLedger(folder / "ledger.sqlite") as ledger,
    ):
        policy = TieringPolicy({"constructed": 10})
        tiering = DocumentTiering(documents, bucket, ledger, SqliteArchive(ledger), policy, gate=Gate())
        print("begins", flush=True)
        await tiering.run_round(Board().reporter("documents"))
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
