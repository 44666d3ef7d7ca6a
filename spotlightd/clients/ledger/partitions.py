"""The ledger's tables for archived partitions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from spotlightd.clients.sqlite import SqliteFile, from_micros, placeholders, to_micros
from spotlightd.log import hide_secrets
from spotlightd.model.archive import Fingerprint
from spotlightd.model.partition import Check, CheckKind, Partition, RetentionRule


class SqliteArchive:
    """The port `ArchiveLedger`, in the ledger's file. The ledger opens and closes it."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    async def partitions(self) -> tuple[Partition, ...]:
        rows = await self._file.run("SELECT * FROM partitions ORDER BY number, generation, dataset")
        return tuple(_read_partition(row) for row in rows)

    async def save_partition(self, partition: Partition) -> None:
        fingerprint = partition.fingerprint
        values = (
            partition.dataset, partition.number, partition.generation, partition.stage, to_micros(partition.since),
            json.dumps(partition.keys), partition.manifest, partition.digest, partition.size,
            json.dumps([fingerprint.rows, fingerprint.total, fingerprint.mixed, fingerprint.low, fingerprint.high]), json.dumps(partition.columns),
            hide_secrets(partition.detail), partition.failures,
            to_micros(partition.not_before),
        )  # fmt: skip
        await self._file.run(f"INSERT OR REPLACE INTO partitions VALUES ({placeholders(values)})", values)

    async def checks(self) -> Mapping[CheckKind, Check]:
        rows = await self._file.run("SELECT * FROM archive_checks")
        return {row["kind"]: Check(from_micros(row["at"]), bool(row["well"]), row["says"]) for row in rows}

    async def save_check(self, kind: CheckKind, check: Check) -> None:
        values = (kind, to_micros(check.at), int(check.passed), hide_secrets(check.detail))
        await self._file.run(f"INSERT OR REPLACE INTO archive_checks VALUES ({placeholders(values)})", values)

    async def accepted_losses(self) -> Mapping[str, int]:
        return {row["name"]: row["seq"] for row in await self._file.run("SELECT * FROM losses")}

    async def accept_loss(self, table: str, seq: int) -> None:
        accept = ("INSERT OR REPLACE INTO losses VALUES (?, ?)", (table, seq))
        await self._file.run_transaction([accept, ("DELETE FROM row_counts WHERE name = ?", (table,))])

    async def row_counts(self) -> Mapping[str, int]:
        return {row["name"]: row["rows"] for row in await self._file.run("SELECT * FROM row_counts")}

    async def save_row_count(self, table: str, rows: int) -> None:
        await self._file.run("INSERT OR REPLACE INTO row_counts VALUES (?, ?)", (table, rows))

    async def retention_rules(self) -> Mapping[str, RetentionRule]:
        rows = await self._file.run("SELECT * FROM retention")
        return {
            row["name"]: RetentionRule(row["name"], row["days"], row["configured"], from_micros(row["since"]))
            for row in rows
        }

    async def save_retention_rule(self, rule: RetentionRule) -> None:
        values = (rule.name, rule.days, rule.configured, to_micros(rule.since))
        await self._file.run(f"INSERT OR REPLACE INTO retention VALUES ({placeholders(values)})", values)


def _read_partition(row: sqlite3.Row) -> Partition:
    return Partition(
        row["dataset"], row["number"], row["generation"], row["stage"], from_micros(row["since"]),
        tuple(json.loads(row["keys"])), row["manifest"], row["digest"], row["size"],
        Fingerprint(*json.loads(row["fingerprint"])), tuple((name, column_type) for name, column_type in json.loads(row["columns"])),
        row["says"], row["failures"], from_micros(row["not_before"]),
    )  # fmt: skip
