"""The ledger's tables for streams: epochs, positions, intents, gaps and rejected frames."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from spotlightd.clients.sqlite import SqliteFile, from_micros, placeholders, to_micros
from spotlightd.model.offsets import Epoch, Gap, Intent, LostFrame, Position

TEXT_BYTES = 2_000


class SqlitePositions:
    """The port `Positions`, in the ledger's file. The ledger opens and closes it."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    async def epoch(self, source: str) -> Epoch | None:
        rows = await self._file.run("SELECT * FROM epochs WHERE source = ? ORDER BY number DESC LIMIT 1", (source,))
        return Epoch(**dict(rows[0])) if rows else None

    async def begin_epoch(self, epoch: Epoch, positions: Sequence[Position]) -> None:
        begin = ("INSERT OR REPLACE INTO epochs VALUES (?, ?, ?)", (epoch.source, epoch.number, epoch.log_id))
        await self._file.run_transaction([begin, *(_move_position(epoch.source, position) for position in positions)])

    async def positions(self, source: str) -> Mapping[int, Position]:
        newest = "SELECT max(number) FROM epochs WHERE source = ?"
        rows = await self._file.run(
            f"SELECT epoch, partition, offset, key FROM positions WHERE source = ? AND epoch = ({newest})",
            (source, source),
        )
        return {row["partition"]: Position(**dict(row)) for row in rows}

    async def intents(self, source: str) -> tuple[Intent, ...]:
        rows = await self._file.run("SELECT * FROM intents WHERE source = ? ORDER BY id", (source,))
        return tuple(_read_intent(row) for row in rows)

    async def intend(self, intent: Intent) -> None:
        values = (
            intent.source, intent.epoch, intent.partition, intent.lo, intent.hi, intent.frames, intent.day.isoformat(),
            intent.part, intent.load_id, intent.decode, intent.nonce,
        )  # fmt: skip
        await self._file.run(f"INSERT INTO intents VALUES (NULL, {placeholders(values)})", values)

    async def complete(self, intent: Intent, key: bytes, lost: Sequence[LostFrame] = ()) -> None:
        move = _move_position(intent.source, Position(intent.epoch, intent.partition, intent.hi, key))
        inserts = [_insert_lost_frame(intent.source, intent.decode, frame) for frame in lost]
        await self._file.run_transaction([*inserts, move, _delete_intent(intent)])

    async def forget(self, intent: Intent) -> None:
        await self._file.run(*_delete_intent(intent))

    async def save_lost_frames(self, source: str, decode: str, lost: Sequence[LostFrame]) -> None:
        await self._file.run_transaction([_insert_lost_frame(source, decode, frame) for frame in lost])

    async def add_gap(self, gap: Gap) -> None:
        values = (
            to_micros(datetime.now(UTC)), gap.source, gap.symbol, to_micros(gap.since), to_micros(gap.until), gap.cause, gap.detail,
            gap.repaired_by,
        )  # fmt: skip
        duplicate = "SELECT 1 FROM gaps WHERE source = ? AND symbol = ? AND cause = ? AND says = ? AND until = ?"
        sql = f"INSERT INTO gaps SELECT NULL, {placeholders(values)} WHERE NOT EXISTS ({duplicate})"
        key_values = (gap.source, gap.symbol, gap.cause, gap.detail, to_micros(gap.until))
        await self._file.run(sql, (*values, *key_values))

    async def get_feed_state(self, source: str) -> tuple[str, datetime] | None:
        rows = await self._file.run("SELECT state, at FROM feeds WHERE source = ?", (source,))
        return (rows[0]["state"], from_micros(rows[0]["at"])) if rows else None

    async def save_feed_state(self, source: str, state: str, at: datetime) -> None:
        await self._file.run("INSERT OR REPLACE INTO feeds VALUES (?, ?, ?)", (source, state, to_micros(at)))


def _move_position(source: str, to: Position) -> tuple[str, Sequence[Any]]:
    """The statement that moves a position. A position never goes back: an intent may complete after a later one."""
    sql = (
        "INSERT INTO positions VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " key = iif(excluded.offset >= offset, excluded.key, key), offset = max(offset, excluded.offset)"
    )
    return sql, (source, to.epoch, to.partition, to.offset, to.key)


def _delete_intent(intent: Intent) -> tuple[str, Sequence[Any]]:
    sql = "DELETE FROM intents WHERE source = ? AND epoch = ? AND partition = ? AND lo = ? AND nonce = ?"
    return sql, (intent.source, intent.epoch, intent.partition, intent.lo, intent.nonce)


def _insert_lost_frame(source: str, decode: str, frame: LostFrame) -> tuple[str, Sequence[Any]]:
    values = (
        to_micros(datetime.now(UTC)), source, decode, frame.epoch, frame.partition, frame.offset,
        frame.text[:TEXT_BYTES], frame.reason,
    )  # fmt: skip
    return (f"INSERT OR IGNORE INTO lost_frames VALUES (NULL, {placeholders(values)})", values)


def _read_intent(row: sqlite3.Row) -> Intent:
    fields = {key: row[key] for key in row.keys() if key not in {"id", "day"}}  # noqa: SIM118
    return Intent(**fields, day=date.fromisoformat(row["day"]))
