"""The ledger's table of loads.

Each look-up that runs for a document, or on a timer, finds its rows by an index: a source may have a million loads. It
names the index, because SQLite guesses what an index finds: for the slices of a document it chose the state and the source,
which find all loads. Such a statement fails when its index cannot be used. `tests/flows/test_growth.py` counts the steps.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from spotlightd.clients.sqlite import SqliteFile, from_micros, placeholders, to_micros
from spotlightd.errors import StoreError
from spotlightd.log import hide_known_secrets as hide
from spotlightd.model.derivation import Derivation
from spotlightd.model.derived.transform import Transform
from spotlightd.model.provenance import Load, LoadState, Reject
from spotlightd.model.source import Batch, list_wholes
from spotlightd.model.stream import Stream

Statement = tuple[str, Sequence[Any]]
VISIBLE = "state = 'published' AND superseded_by = 0"
BELOW, BEYOND = "/", "0"  # parts of the slice `2021` begin with `2021/`; `0` is the character after `/`


class SqliteLoads(SqliteFile):
    """The port `Loads`: the part of the ledger that knows its table `loads`."""

    async def begin_load(
        self, source: Batch | Stream | Transform | Derivation, digest: str, covers: str, *, derived_from: int = 0
    ) -> Load:
        return (await self._begin_loads(source, [(digest, covers, derived_from)]))[0]

    async def begin_group(self, source: Batch | Derivation, documents: Sequence[tuple[str, str]]) -> tuple[Load, ...]:
        return await self._begin_loads(source, [(*document, 0) for document in documents])

    async def _begin_loads(
        self, source: Batch | Stream | Transform | Derivation, origins: Sequence[tuple[str, str, int]]
    ) -> tuple[Load, ...]:
        names = json.dumps([dataset.name for dataset in source.datasets])
        insert = (
            "INSERT INTO loads (source, digest, parser, covers, state, datasets, derived_from)"
            " VALUES (?, ?, ?, ?, 'loading', ?, ?) RETURNING *"
        )
        return await self._write_loads(
            [
                (insert, (source.name, digest, source.parser, covers, names, derived_from))
                for digest, covers, derived_from in origins
            ]
        )

    async def close_load(self, load_id: int) -> Load:
        return (await self._change_loads([(load_id, "closed = 1", ())]))[0]

    async def mark_loaded(self, load_id: int, rows: Mapping[str, int], rejects: Sequence[Reject]) -> Load:
        return (await self.mark_group_loaded([(load_id, rows, rejects)]))[0]

    async def mark_group_loaded(
        self, filled: Sequence[tuple[int, Mapping[str, int], Sequence[Reject]]]
    ) -> tuple[Load, ...]:
        assignments = "state = 'loaded', rows = ?, rejects = ?"
        changes = [(load_id, assignments, (json.dumps(dict(rows)), len(rejects))) for load_id, rows, rejects in filled]
        return await self._change_loads(changes, [(load_id, rejects) for load_id, _, rejects in filled])

    async def intend(self, load_id: int, seq: int, supersedes: Sequence[int], at: datetime) -> Load:
        return (await self.intend_group([(load_id, seq, supersedes, at)]))[0]

    async def intend_group(self, intents: Sequence[tuple[int, int, Sequence[int], datetime]]) -> tuple[Load, ...]:
        assignments = "state = 'publishing', seq = ?, supersedes = ?, published_at = ?"
        return await self._change_loads(
            [
                (load_id, assignments, (seq, json.dumps(list(supersedes)), to_micros(at)))
                for load_id, seq, supersedes, at in intents
            ]
        )

    async def mark_published(self, load_id: int) -> Load:
        return (await self.mark_group_published([load_id]))[0]

    async def mark_group_published(self, load_ids: Sequence[int]) -> tuple[Load, ...]:
        return await self._change_loads([(load_id, "state = 'published'", ()) for load_id in load_ids])

    async def mark_dead(self, load_id: int, rejects: Sequence[Reject] = ()) -> Load:
        return (await self.mark_group_dead([(load_id, rejects)]))[0]

    async def mark_group_dead(self, ended: Sequence[tuple[int, Sequence[Reject]]]) -> tuple[Load, ...]:
        changes = [(load_id, "state = 'dead', rejects = ?", (len(rejects),)) for load_id, rejects in ended]
        return await self._change_loads(changes, ended)

    async def _change_loads(
        self, changes: Sequence[tuple[int, str, Sequence[Any]]], rejects: Sequence[tuple[int, Sequence[Reject]]] = ()
    ) -> tuple[Load, ...]:
        """Change these loads and record their rejects, all or nothing. StoreError when there is no such load."""
        updates = [
            (f"UPDATE loads SET {assignments} WHERE load_id = ? RETURNING *", (*values, load_id))
            for load_id, assignments, values in changes
        ]
        changed = await self._write_loads(updates, rejects)
        if len(changed) < len(changes):
            missing = {load_id for load_id, *_ in changes} - {load.load_id for load in changed}
            raise StoreError(f"the ledger {self.path} has no load {', '.join(map(str, sorted(missing)))}")
        return changed

    async def _write_loads(
        self, statements: Sequence[Statement], rejects: Sequence[tuple[int, Sequence[Reject]]] = ()
    ) -> tuple[Load, ...]:
        """Run all or none; returns the loads that the statements return. All is done in the file's thread: there may be many
        thousands of rejects, whose texts are searched for secrets.
        """

        def write() -> tuple[Load, ...]:
            inserts = [_insert_reject(load_id, reject) for load_id, rejected in rejects for reject in rejected]
            answers = self.execute_all([*inserts, *statements])
            return tuple(_read_load(row) for rows in answers[len(inserts) :] for row in rows)

        return await self.run_in_thread(write)

    async def mark_swept(self, load_ids: Sequence[int]) -> None:
        await self.run(f"UPDATE loads SET state = 'swept' WHERE load_id IN ({placeholders(load_ids)})", load_ids)

    async def adopt(self, loads: Sequence[Load], taken: Mapping[str, int]) -> None:
        statements: list[tuple[str, Sequence[Any]]] = []
        for load in sorted(loads, key=lambda load: load.seq):  # a load is entered before the one that supersedes it
            values = (
                load.load_id, load.source, load.digest, load.parser, load.covers, "published", json.dumps(load.datasets),
                json.dumps(dict(load.rows)), load.rejects, load.seq, json.dumps(load.supersedes), to_micros(load.published_at),
                load.derived_from, int(load.closed), load.load_id,
            )  # fmt: skip
            superseded_by = "(SELECT coalesce(max(superseded_by), 0) FROM loads WHERE load_id = ?)"
            insert = f"INSERT OR REPLACE INTO loads VALUES ({placeholders(values[:-1])}, {superseded_by})"
            statements.append((insert, values))
        for table, number in taken.items():
            insert = "INSERT INTO sqlite_sequence SELECT ?, 0 WHERE ? NOT IN (SELECT name FROM sqlite_sequence)"
            statements.append((insert, (table, table)))
            statements.append(("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (number, table)))
        if statements:
            await self.run_transaction(statements)

    # look-ups

    async def loads(self, source: str = "", *, states: Sequence[LoadState] = ()) -> tuple[Load, ...]:
        of_source = ("source = ?", [source]) if source else ("1", [])
        in_states = (f"state IN ({placeholders(states)})", list(states)) if states else ("1", [])
        conditions, values = f"{of_source[0]} AND {in_states[0]}", (*of_source[1], *in_states[1])
        return await self._select_loads(f"SELECT * FROM loads WHERE {conditions} ORDER BY load_id", values)

    async def related_loads(
        self, source: str, covers: str, digest: str = "", *, superseded: bool = False
    ) -> tuple[Load, ...]:
        sql, values = _select_related(source, covers, digest, superseded=superseded)
        return await self._select_loads(sql, values)

    async def related_groups(self, source: str, documents: Sequence[tuple[str, str]]) -> tuple[tuple[Load, ...], ...]:
        selects = [_select_related(source, covers, digest) for digest, covers in documents]

        def read() -> tuple[tuple[Load, ...], ...]:
            return tuple(tuple(_read_load(row) for row in self.execute(*select)) for select in selects)

        return await self.run_in_thread(read)

    async def visible_loads(self, source: str) -> tuple[Load, ...]:
        sql = f"SELECT * FROM loads INDEXED BY loads_by_covers WHERE source = ? AND {VISIBLE} ORDER BY load_id"
        return await self._select_loads(sql, (source,))

    async def open_loads(self, source: str) -> tuple[Load, ...]:
        sql = (
            f"SELECT * FROM loads INDEXED BY loads_by_covers WHERE source = ? AND {VISIBLE} AND closed = 0"
            " ORDER BY load_id"
        )
        return await self._select_loads(sql, (source,))

    async def published_loads(self, load_ids: Iterable[int]) -> tuple[Load, ...]:
        sql = (
            "SELECT * FROM loads NOT INDEXED WHERE load_id IN (SELECT value FROM json_each(?))"
            " AND state = 'published' ORDER BY load_id"
        )
        return await self._select_loads(sql, (json.dumps(list(load_ids)),))

    async def derived_loads(self, load_ids: Iterable[int]) -> tuple[Load, ...]:
        sql = (
            "SELECT * FROM loads INDEXED BY loads_by_input WHERE derived_from IN (SELECT value FROM json_each(?))"
            " AND derived_from > 0 AND state = 'published' ORDER BY load_id"
        )
        return await self._select_loads(sql, (json.dumps(list(load_ids)),))

    async def uncomputed_loads(self, transform: Transform) -> tuple[Load, ...]:
        computed = (
            "SELECT 1 FROM loads AS computed INDEXED BY loads_by_input WHERE computed.derived_from = input.load_id"
            " AND computed.derived_from > 0 AND computed.source = ? AND computed.parser = ? AND computed.state = 'published'"
        )
        sql = (
            f"SELECT * FROM loads AS input INDEXED BY loads_closed WHERE datasets = ? AND closed = 1 AND {VISIBLE}"
            f" AND NOT EXISTS ({computed}) ORDER BY load_id"
        )
        values = (json.dumps([transform.input.name]), transform.name, transform.parser)
        return await self._select_loads(sql, values)

    async def newest_seq(self, *states: LoadState) -> int | None:
        condition = f"state IN ({placeholders(states)})" if states else "1"
        sql = f"SELECT seq FROM loads INDEXED BY loads_by_seq WHERE {condition} ORDER BY seq DESC LIMIT 1"
        rows = await self.run(sql, states)
        return rows[0]["seq"] if rows else None

    async def derived_until(self, derivation: Derivation) -> int:
        sql = "SELECT seq FROM derivations WHERE name = ? AND version = ?"
        rows = await self.run(sql, (derivation.name, derivation.version))
        return int(rows[0]["seq"]) if rows else 0

    async def save_derived(self, derivation: Derivation, seq: int) -> None:
        values = (derivation.name, derivation.version, seq)
        await self.run("INSERT OR REPLACE INTO derivations VALUES (?, ?, ?)", values)

    async def _select_loads(self, sql: str, values: Sequence[Any]) -> tuple[Load, ...]:
        """Read in the file's thread, so that many loads do not hold the event loop."""
        return await self.run_in_thread(lambda: tuple(_read_load(row) for row in self.execute(sql, values)))


def _select_related(source: str, covers: str, digest: str, *, superseded: bool = False) -> Statement:
    """The statement of `related_loads`, and its values."""
    wanted = "state = 'published'" if superseded else VISIBLE
    of_slice = f"SELECT load_id FROM loads INDEXED BY loads_by_covers WHERE source = ? AND {wanted} AND covers"
    sql = (
        "SELECT * FROM loads WHERE load_id IN ("
        f"{of_slice} IN (SELECT value FROM json_each(?))"
        f" UNION {of_slice} > ? AND covers < ?"
        f" UNION SELECT load_id FROM loads INDEXED BY loads_by_digest WHERE source = ? AND {wanted} AND digest = ?"
        ") ORDER BY load_id"
    )
    slices = json.dumps(list_wholes(covers))
    values = (source, slices, source, covers + BELOW, covers + BEYOND, source, digest)
    return sql, values


def _insert_reject(load_id: int, reject: Reject) -> Statement:
    insert = (
        "INSERT OR IGNORE INTO rejects SELECT NULL, ?, source, digest, parser, ?, ?, ?, ? FROM loads WHERE load_id = ?"
    )
    now = to_micros(datetime.now(UTC))
    return insert, (now, reject.member, reject.line, hide(reject.text), hide(reject.reason), load_id)


def _read_load(row: sqlite3.Row) -> Load:
    return Load(
        load_id=row["load_id"], source=row["source"], digest=row["digest"], parser=row["parser"], covers=row["covers"],
        state=row["state"], datasets=tuple(json.loads(row["datasets"])), rows=json.loads(row["rows"]),
        rejects=row["rejects"], seq=row["seq"], supersedes=tuple(json.loads(row["supersedes"])),
        published_at=from_micros(row["published_at"]), derived_from=row["derived_from"], closed=bool(row["closed"]),
        superseded_by=row["superseded_by"],
    )  # fmt: skip
