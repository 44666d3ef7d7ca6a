"""The ledger in one SQLite file: every method returns when its changes are on disk.

`synchronous=FULL` with a write-ahead log: about 4,900 writes a second on the development machine. Another process, such
as a command that queues a job, can use the file at the same time without a lock.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from importlib import resources
from itertools import islice
from typing import Any, ClassVar

from spotlightd.clients.ledger.loads import SqliteLoads, Statement
from spotlightd.clients.sqlite import from_micros, placeholders, to_micros
from spotlightd.datasets.system import MIRRORED
from spotlightd.errors import StoreError
from spotlightd.log import hide_secrets
from spotlightd.model.document_tiers import StoredDocument
from spotlightd.model.provenance import Document, Run
from spotlightd.ports.ledger import Job, JobKind, KnownAddress

SCHEMA = 5
ADDRESSES_AT_ONCE = 500
DOCUMENTS_AT_ONCE = 1_000  # about 4 ms of the event loop


class SqliteLedger(SqliteLoads):
    """The port `Ledger`. StoreError when the file cannot be opened or written, or was written by a newer release."""

    SCHEMA_FILE = "ledger/schema.sql"
    SCHEMA_VERSION = SCHEMA
    STEPS: ClassVar[dict[int, str]] = {
        1: "ALTER TABLE loads ADD COLUMN derived_from INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE loads ADD COLUMN closed INTEGER NOT NULL DEFAULT 0;",
        3: resources.files(__package__).joinpath("jobs.sql").read_text(encoding="utf-8"),
        4: "ALTER TABLE loads ADD COLUMN superseded_by INTEGER NOT NULL DEFAULT 0;"
        "UPDATE loads SET superseded_by = newer.load_id FROM loads AS newer, json_each(newer.supersedes) AS older"
        " WHERE loads.load_id = older.value AND newer.state = 'published';",
    }

    # addresses, documents and runs

    async def known_addresses(self, source: str, urls: Iterable[str]) -> Mapping[str, KnownAddress]:
        sql = "SELECT * FROM known WHERE source = ? AND url IN (SELECT value FROM json_each(?))"
        known, remaining = dict[str, KnownAddress](), iter(urls)
        while chunk := list(islice(remaining, ADDRESSES_AT_ONCE)):
            rows = await self.run(sql, (source, json.dumps(chunk)))
            known |= {row["url"]: _read_address(row) for row in rows}
        return known

    async def addresses_of(self, source: str, digests: Iterable[str]) -> tuple[KnownAddress, ...]:
        sql = "SELECT * FROM known WHERE source = ? AND digest IN (SELECT value FROM json_each(?))"
        return tuple(_read_address(row) for row in await self.run(sql, (source, json.dumps(list(digests)))))

    async def forget_outcomes(self, source: str) -> int:
        sql = "UPDATE known SET parser = '', outcome = '' WHERE source = ? AND digest <> '' RETURNING 1"
        return len(await self.run(sql, (source,)))

    async def save_address(self, source: str, known: KnownAddress) -> None:
        await self.run(*_insert_address(source, known))

    async def save_document(self, document: Document) -> None:
        await self.run(*_insert_document(document))

    async def save_stored(self, document: Document, known: KnownAddress) -> None:
        await self.run_transaction([_insert_document(document), _insert_address(document.source, known)])

    async def document(self, digest: str) -> Document | None:
        rows = await self.run("SELECT * FROM documents WHERE digest = ? ORDER BY id LIMIT 1", (digest,))
        if not rows:
            return None
        fields = {key: rows[0][key] for key in rows[0].keys() if key not in {"id", "fetched_at"}}  # noqa: SIM118
        return Document(**fields, fetched_at=from_micros(rows[0]["fetched_at"]))

    async def documents(self) -> Mapping[str, StoredDocument]:
        sql = (
            "SELECT digest, max(size) AS size, json_group_array(DISTINCT source) AS sources FROM documents"
            " WHERE digest > ? GROUP BY digest ORDER BY digest LIMIT ?"
        )
        documents, last = dict[str, StoredDocument](), ""
        while rows := await self.run(sql, (last, DOCUMENTS_AT_ONCE)):
            last = rows[-1]["digest"]
            documents |= {row["digest"]: _read_stored(row) for row in rows}
        return documents

    async def record(self, run: Run) -> None:
        await self.run(*_insert_run(run))

    async def record_outcomes(self, outcomes: Sequence[tuple[KnownAddress, Run]]) -> None:
        addresses = [_insert_address(run.source, known) for known, run in outcomes]
        await self.run_transaction([*addresses, *(_insert_run(run) for _, run in outcomes)])

    # tables that are mirrored to the warehouse

    async def restore(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        dataset = next(dataset for dataset in MIRRORED if dataset.name == table)
        names = ", ".join(column.name for column in dataset.columns)
        insert = f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({placeholders(dataset.columns)})"
        stored_rows = [[to_micros(value) if isinstance(value, datetime) else value for value in row] for row in rows]
        await self.run_transaction([(insert, row) for row in stored_rows])

    async def history(self, table: str, after: int, limit: int) -> tuple[tuple[Any, ...], ...]:
        dataset = next(dataset for dataset in MIRRORED if dataset.name == table)
        names = ", ".join(column.name for column in dataset.columns)
        times = [column.kind == "time" for column in dataset.columns]
        rows = await self.run(f"SELECT {names} FROM {table} WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
        return tuple(
            tuple(from_micros(value) if time else value for value, time in zip(row, times, strict=True)) for row in rows
        )

    # jobs

    async def add_job(self, job: Job) -> Job:
        values = (
            job.kind, job.target, job.first.isoformat(), job.last.isoformat(), job.partition, job.into, job.state, job.done,
            job.total, job.detail,
        )  # fmt: skip
        rows = await self.run(f"INSERT INTO jobs VALUES (NULL, {placeholders(values)}) RETURNING *", values)
        return _read_job(rows[0])

    async def open_jobs(self, *kinds: JobKind) -> tuple[Job, ...]:
        sql = (
            f"SELECT * FROM jobs INDEXED BY jobs_open WHERE kind IN ({placeholders(kinds)})"
            " AND state IN ('waiting', 'running') ORDER BY number"
        )
        return tuple(_read_job(row) for row in await self.run(sql, kinds))

    async def job(self, number: int) -> Job:
        rows = await self.run("SELECT * FROM jobs WHERE number = ?", (number,))
        if not rows:
            raise StoreError(f"the ledger {self.path} has no job {number}")
        return _read_job(rows[0])

    async def update_job(self, job: Job) -> None:
        await self.run(
            "UPDATE jobs SET state = ?, done = ?, total = ?, detail = ? WHERE number = ?",
            (job.state, job.done, job.total, hide_secrets(job.detail), job.number),
        )


def _insert_address(source: str, known: KnownAddress) -> Statement:
    values = (
        source, known.url, known.covers, known.digest, known.etag, known.last_modified, to_micros(known.first_fetched_at),
        to_micros(known.checked_at), known.outcome, known.parser, known.failures, to_micros(known.not_before),
    )  # fmt: skip
    return f"INSERT OR REPLACE INTO known VALUES ({placeholders(values)})", values


def _insert_document(document: Document) -> Statement:
    values = (
        document.digest, document.size, document.source, document.url, document.via, document.covers,
        to_micros(document.fetched_at), document.etag, document.last_modified, document.media_type,
    )  # fmt: skip
    return f"INSERT OR IGNORE INTO documents VALUES (NULL, {placeholders(values)})", values


def _insert_run(run: Run) -> Statement:
    values = (
        to_micros(run.at), run.source, run.url, run.covers, run.outcome, run.digest, run.rows, run.rejects, run.bytes,
        run.seconds, hide_secrets(run.error),
    )  # fmt: skip
    return f"INSERT INTO runs VALUES (NULL, {placeholders(values)})", values


def _read_address(row: sqlite3.Row) -> KnownAddress:
    return KnownAddress(
        url=row["url"], covers=row["covers"], digest=row["digest"], etag=row["etag"], last_modified=row["last_modified"],
        first_fetched_at=from_micros(row["first_seen"]), checked_at=from_micros(row["checked_at"]), outcome=row["outcome"],
        parser=row["parser"], failures=row["failures"], not_before=from_micros(row["not_before"]),
    )  # fmt: skip


def _read_stored(row: sqlite3.Row) -> StoredDocument:
    return StoredDocument(row["digest"], row["size"], tuple(json.loads(row["sources"])))


def _read_job(row: sqlite3.Row) -> Job:
    return Job(
        row["kind"], row["target"], date.fromisoformat(row["first"]), date.fromisoformat(row["last"]), row["partition"],
        row["into_table"], row["number"], row["state"], row["done"], row["total"], row["detail"],
    )  # fmt: skip
