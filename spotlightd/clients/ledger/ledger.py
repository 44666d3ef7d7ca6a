"""The ledger in one SQLite file: every method returns when its changes are on disk.

`synchronous=FULL` with a write-ahead log: about 4,900 writes a second on the development machine. Another process, such
as a command that queues a job, can use the file at the same time without a lock.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from importlib import resources
from typing import Any, ClassVar

from spotlightd.clients.sqlite import SqliteFile, from_micros, placeholders, to_micros
from spotlightd.datasets.system import MIRRORED
from spotlightd.errors import StoreError
from spotlightd.log import hide_known_secrets as hide
from spotlightd.log import hide_secrets
from spotlightd.model.document_tiers import StoredDocument
from spotlightd.model.provenance import Document, Load, LoadState, Reject, Run
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream
from spotlightd.model.transform import Transform
from spotlightd.ports.ledger import Job, JobKind, KnownAddress

SCHEMA = 4


class SqliteLedger(SqliteFile):
    """The port `Ledger`. StoreError when the file cannot be opened or written, or was written by a newer release."""

    SCHEMA_FILE = "ledger/schema.sql"
    SCHEMA_VERSION = SCHEMA
    STEPS: ClassVar[dict[int, str]] = {
        1: "ALTER TABLE loads ADD COLUMN derived_from INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE loads ADD COLUMN closed INTEGER NOT NULL DEFAULT 0;",
        3: resources.files(__package__).joinpath("jobs.sql").read_text(encoding="utf-8"),
    }

    # addresses, documents and runs

    async def known_addresses(self, source: str) -> Mapping[str, KnownAddress]:
        rows = await self.run("SELECT * FROM known WHERE source = ?", (source,))
        return {row["url"]: _read_address(row) for row in rows}

    async def save_address(self, source: str, known: KnownAddress) -> None:
        values = (
            source, known.url, known.covers, known.digest, known.etag, known.last_modified, to_micros(known.first_fetched_at),
            to_micros(known.checked_at), known.outcome, known.parser, known.failures, to_micros(known.not_before),
        )  # fmt: skip
        await self.run(f"INSERT OR REPLACE INTO known VALUES ({placeholders(values)})", values)

    async def save_document(self, document: Document) -> None:
        values = (
            document.digest, document.size, document.source, document.url, document.via, document.covers,
            to_micros(document.fetched_at), document.etag, document.last_modified, document.media_type,
        )  # fmt: skip
        await self.run(f"INSERT OR IGNORE INTO documents VALUES (NULL, {placeholders(values)})", values)

    async def document(self, digest: str) -> Document | None:
        rows = await self.run("SELECT * FROM documents WHERE digest = ? ORDER BY id LIMIT 1", (digest,))
        if not rows:
            return None
        fields = {key: rows[0][key] for key in rows[0].keys() if key not in {"id", "fetched_at"}}  # noqa: SIM118
        return Document(**fields, fetched_at=from_micros(rows[0]["fetched_at"]))

    async def documents(self) -> Mapping[str, StoredDocument]:
        rows = await self.run(
            "SELECT digest, max(size) AS size, json_group_array(DISTINCT source) AS sources FROM documents GROUP BY digest"
        )
        return {
            row["digest"]: StoredDocument(row["digest"], row["size"], tuple(json.loads(row["sources"]))) for row in rows
        }

    async def record(self, run: Run) -> None:
        values = (
            to_micros(run.at), run.source, run.url, run.covers, run.outcome, run.digest, run.rows, run.rejects, run.bytes,
            run.seconds, hide_secrets(run.error),
        )  # fmt: skip
        await self.run(f"INSERT INTO runs VALUES (NULL, {placeholders(values)})", values)

    # loads

    async def begin_load(
        self, source: Batch | Stream | Transform, digest: str, covers: str, *, derived_from: int = 0
    ) -> Load:
        names = json.dumps([dataset.name for dataset in source.datasets])
        rows = await self.run(
            "INSERT INTO loads (source, digest, parser, covers, state, datasets, derived_from)"
            " VALUES (?, ?, ?, ?, 'loading', ?, ?) RETURNING *",
            (source.name, digest, source.parser, covers, names, derived_from),
        )
        return _read_load(rows[0])

    async def close_load(self, load_id: int) -> Load:
        return await self._change_load(load_id, "closed = 1", ())

    async def mark_loaded(self, load_id: int, rows: Mapping[str, int], rejects: Sequence[Reject]) -> Load:
        row_counts = json.dumps(dict(rows))
        return await self._change_load(
            load_id, "state = 'loaded', rows = ?, rejects = ?", (row_counts, len(rejects)), rejects
        )

    async def intend(self, load_id: int, seq: int, supersedes: Sequence[int], at: datetime) -> Load:
        assignments = "state = 'publishing', seq = ?, supersedes = ?, published_at = ?"
        return await self._change_load(load_id, assignments, (seq, json.dumps(list(supersedes)), to_micros(at)))

    async def mark_published(self, load_id: int) -> Load:
        return await self._change_load(load_id, "state = 'published'", ())

    async def mark_dead(self, load_id: int, rejects: Sequence[Reject] = ()) -> Load:
        return await self._change_load(load_id, "state = 'dead', rejects = ?", (len(rejects),), rejects)

    async def _change_load(
        self, load_id: int, assignments: str, values: Sequence[Any], rejects: Sequence[Reject] = ()
    ) -> Load:
        now = to_micros(datetime.now(UTC))
        insert = "INSERT OR IGNORE INTO rejects SELECT NULL, ?, source, digest, parser, ?, ?, ?, ? FROM loads WHERE load_id = ?"
        statements = [
            (insert, (now, reject.member, reject.line, hide(reject.text), hide(reject.reason), load_id))
            for reject in rejects
        ]
        change = (f"UPDATE loads SET {assignments} WHERE load_id = ? RETURNING *", (*values, load_id))
        rows = await self.run_transaction([*statements, change])
        if not rows:
            raise StoreError(f"the ledger {self.path} has no load {load_id}")
        return _read_load(rows[0])

    async def mark_swept(self, load_ids: Sequence[int]) -> None:
        await self.run(f"UPDATE loads SET state = 'swept' WHERE load_id IN ({placeholders(load_ids)})", load_ids)

    async def loads(self, source: str = "", *, states: Sequence[LoadState] = ()) -> tuple[Load, ...]:
        rows = await self.run(
            "SELECT * FROM loads WHERE (? = '' OR source = ?)"
            f" AND ({len(states)} = 0 OR state IN ({placeholders(states)})) ORDER BY load_id",
            (source, source, *states),
        )
        return tuple(_read_load(row) for row in rows)

    async def adopt(self, loads: Sequence[Load], taken: Mapping[str, int]) -> None:
        statements: list[tuple[str, Sequence[Any]]] = []
        for load in loads:
            values = (
                load.load_id, load.source, load.digest, load.parser, load.covers, "published", json.dumps(load.datasets),
                json.dumps(dict(load.rows)), load.rejects, load.seq, json.dumps(load.supersedes), to_micros(load.published_at),
                load.derived_from, int(load.closed),
            )  # fmt: skip
            statements.append((f"INSERT OR REPLACE INTO loads VALUES ({placeholders(values)})", values))
        for table, number in taken.items():
            insert = "INSERT INTO sqlite_sequence SELECT ?, 0 WHERE ? NOT IN (SELECT name FROM sqlite_sequence)"
            statements.append((insert, (table, table)))
            statements.append(("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (number, table)))
        if statements:
            await self.run_transaction(statements)

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
        sql = f"SELECT * FROM jobs WHERE kind IN ({placeholders(kinds)}) AND state IN ('waiting', 'running') ORDER BY number"
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


def _read_address(row: sqlite3.Row) -> KnownAddress:
    return KnownAddress(
        url=row["url"], covers=row["covers"], digest=row["digest"], etag=row["etag"], last_modified=row["last_modified"],
        first_fetched_at=from_micros(row["first_seen"]), checked_at=from_micros(row["checked_at"]), outcome=row["outcome"],
        parser=row["parser"], failures=row["failures"], not_before=from_micros(row["not_before"]),
    )  # fmt: skip


def _read_load(row: sqlite3.Row) -> Load:
    return Load(
        load_id=row["load_id"], source=row["source"], digest=row["digest"], parser=row["parser"], covers=row["covers"],
        state=row["state"], datasets=tuple(json.loads(row["datasets"])), rows=json.loads(row["rows"]),
        rejects=row["rejects"], seq=row["seq"], supersedes=tuple(json.loads(row["supersedes"])),
        published_at=from_micros(row["published_at"]), derived_from=row["derived_from"], closed=bool(row["closed"]),
    )  # fmt: skip


def _read_job(row: sqlite3.Row) -> Job:
    return Job(
        row["kind"], row["target"], date.fromisoformat(row["first"]), date.fromisoformat(row["last"]), row["partition"],
        row["into_table"], row["number"], row["state"], row["done"], row["total"], row["detail"],
    )  # fmt: skip
