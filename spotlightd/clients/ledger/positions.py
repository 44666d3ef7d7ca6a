"""The ledger's tables for streams: epochs, positions, intents, gaps and rejected frames."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from spotlightd.clients.sqlite import SqliteFile, from_micros, placeholders, to_micros
from spotlightd.log import hide_known_secrets, hide_secrets
from spotlightd.model.offsets import Completion, Epoch, Gap, Intent, LostFrame, Position

TEXT_BYTES = 2_000
SYMBOL_SIGN = "/"  # not in the name of a source: `finnhub/AAPL` is the state of one symbol of it


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

    async def complete(self, *done: Completion) -> None:
        await self._file.run_transaction(
            [statement for completion in done for statement in _complete_intent(completion)]
        )

    async def forget(self, intent: Intent) -> None:
        await self._file.run(*_delete_intent(intent))

    async def save_lost_frames(self, source: str, decode: str, lost: Sequence[LostFrame]) -> None:
        await self._file.run_transaction([_insert_lost_frame(source, decode, frame) for frame in lost])

    async def add_gap(self, gap: Gap) -> None:
        detail = hide_secrets(gap.detail)
        values = (
            to_micros(datetime.now(UTC)), gap.source, gap.symbol, to_micros(gap.since), to_micros(gap.until), gap.cause, detail,
            gap.repaired_by,
        )  # fmt: skip
        duplicate = "SELECT 1 FROM gaps WHERE source = ? AND symbol = ? AND cause = ? AND says = ? AND until = ?"
        sql = f"INSERT INTO gaps SELECT NULL, {placeholders(values)} WHERE NOT EXISTS ({duplicate})"
        key_values = (gap.source, gap.symbol, gap.cause, detail, to_micros(gap.until))
        await self._file.run(sql, (*values, *key_values))

    async def get_feed_state(self, source: str) -> tuple[str, datetime] | None:
        rows = await self._file.run("SELECT state, at FROM feeds WHERE source = ?", (source,))
        return (rows[0]["state"], from_micros(rows[0]["at"])) if rows else None

    async def save_feed_state(self, source: str, state: str, at: datetime) -> None:
        await self._file.run("INSERT OR REPLACE INTO feeds VALUES (?, ?, ?)", (source, state, to_micros(at)))

    async def get_refused_symbols(self, source: str) -> Mapping[str, datetime]:
        start = f"{source}{SYMBOL_SIGN}"
        sql = "SELECT source, at FROM feeds WHERE substr(source, 1, ?) = ? AND state = 'refused'"
        rows = await self._file.run(sql, (len(start), start))
        return {row["source"].removeprefix(start): from_micros(row["at"]) for row in rows}

    async def save_refused_symbol(self, source: str, symbol: str, since: datetime | None) -> None:
        name = f"{source}{SYMBOL_SIGN}{symbol}"
        if since is None:
            await self._file.run("DELETE FROM feeds WHERE source = ?", (name,))
        else:
            await self.save_feed_state(name, "refused", since)


def _move_position(source: str, to: Position) -> tuple[str, Sequence[Any]]:
    """The statement that moves a position. A position never goes back: an intent may complete after a later one."""
    sql = (
        "INSERT INTO positions VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " key = iif(excluded.offset >= offset, excluded.key, key), offset = max(offset, excluded.offset)"
    )
    return sql, (source, to.epoch, to.partition, to.offset, to.key)


def _complete_intent(done: Completion) -> list[tuple[str, Sequence[Any]]]:
    intent = done.intent
    move = _move_position(intent.source, Position(intent.epoch, intent.partition, intent.hi, done.key))
    inserts = [_insert_lost_frame(intent.source, intent.decode, frame) for frame in done.lost]
    return [*inserts, move, _delete_intent(intent)]


def _delete_intent(intent: Intent) -> tuple[str, Sequence[Any]]:
    sql = "DELETE FROM intents WHERE source = ? AND epoch = ? AND partition = ? AND lo = ? AND nonce = ?"
    return sql, (intent.source, intent.epoch, intent.partition, intent.lo, intent.nonce)


def _insert_lost_frame(source: str, decode: str, frame: LostFrame) -> tuple[str, Sequence[Any]]:
    values = (
        to_micros(datetime.now(UTC)), source, decode, frame.epoch, frame.partition, frame.offset,
        hide_known_secrets(frame.text[:TEXT_BYTES]), hide_known_secrets(frame.reason),
    )  # fmt: skip
    return (f"INSERT OR IGNORE INTO lost_frames VALUES (NULL, {placeholders(values)})", values)


def _read_intent(row: sqlite3.Row) -> Intent:
    fields = {key: row[key] for key in row.keys() if key not in {"id", "day"}}  # noqa: SIM118
    return Intent(**fields, day=date.fromisoformat(row["day"]))
