"""The ledger's tables of archived partitions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from spotlightd.clients.sqlite import SqliteFile, marks, micros, moment
from spotlightd.model.archive import Fingerprint
from spotlightd.model.partition import Check, CheckKind, Partition


class SqliteArchive:
    """The port `ArchiveLedger`. The file is opened and closed as the ledger."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    async def partitions(self) -> tuple[Partition, ...]:
        rows = await self._file.run("SELECT * FROM partitions ORDER BY number, generation, dataset")
        return tuple(_partition(row) for row in rows)

    async def keep(self, partition: Partition) -> None:
        mark = partition.fingerprint
        values = (
            partition.dataset, partition.number, partition.generation, partition.stage, micros(partition.since),
            json.dumps(partition.keys), partition.manifest, partition.digest, partition.size,
            json.dumps([mark.rows, mark.total, mark.mixed, mark.low, mark.high]), json.dumps(partition.columns),
            partition.says, partition.failures,
            micros(partition.not_before),
        )  # fmt: skip
        await self._file.run(f"INSERT OR REPLACE INTO partitions VALUES ({marks(values)})", values)

    async def checks(self) -> Mapping[CheckKind, Check]:
        rows = await self._file.run("SELECT * FROM archive_checks")
        return {row["kind"]: Check(moment(row["at"]), bool(row["well"]), row["says"]) for row in rows}

    async def note(self, kind: CheckKind, check: Check) -> None:
        values = (kind, micros(check.at), int(check.well), check.says)
        await self._file.run(f"INSERT OR REPLACE INTO archive_checks VALUES ({marks(values)})", values)


def _partition(row: sqlite3.Row) -> Partition:
    return Partition(
        row["dataset"], row["number"], row["generation"], row["stage"], moment(row["since"]),
        tuple(json.loads(row["keys"])), row["manifest"], row["digest"], row["size"],
        Fingerprint(*json.loads(row["fingerprint"])), tuple((name, word) for name, word in json.loads(row["columns"])),
        row["says"], row["failures"], moment(row["not_before"]),
    )  # fmt: skip
