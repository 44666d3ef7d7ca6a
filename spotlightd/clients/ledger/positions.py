"""The ledger's part for streams: epochs, positions, intents, gaps and rejected frames, in the ledger's own file."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from spotlightd.clients.sqlite import SqliteFile, marks, micros, moment
from spotlightd.model.offsets import Epoch, Gap, Intent, LostFrame, Position

TEXT_BYTES = 2_000


class SqlitePositions:
    """The port `Positions`. The file is opened and closed as the ledger."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    async def epoch(self, source: str) -> Epoch | None:
        rows = await self._file.run("SELECT * FROM epochs WHERE source = ? ORDER BY number DESC LIMIT 1", (source,))
        return Epoch(**dict(rows[0])) if rows else None

    async def begin_epoch(self, epoch: Epoch, positions: Sequence[Position]) -> None:
        begin = ("INSERT OR REPLACE INTO epochs VALUES (?, ?, ?)", (epoch.source, epoch.number, epoch.log_id))
        await self._file.together([begin, *(_moved(epoch.source, one) for one in positions)])

    async def positions(self, source: str) -> Mapping[int, Position]:
        newest = "SELECT max(number) FROM epochs WHERE source = ?"
        rows = await self._file.run(
            f"SELECT epoch, partition, offset, key FROM positions WHERE source = ? AND epoch = ({newest})",
            (source, source),
        )
        return {row["partition"]: Position(**dict(row)) for row in rows}

    async def intents(self, source: str) -> tuple[Intent, ...]:
        rows = await self._file.run("SELECT * FROM intents WHERE source = ? ORDER BY id", (source,))
        return tuple(_intent(row) for row in rows)

    async def intend(self, intent: Intent) -> None:
        values = (
            intent.source, intent.epoch, intent.partition, intent.lo, intent.hi, intent.frames, intent.day.isoformat(),
            intent.part, intent.load_id, intent.decode, intent.nonce,
        )  # fmt: skip
        await self._file.run(f"INSERT INTO intents VALUES (NULL, {marks(values)})", values)

    async def done(self, intent: Intent, key: bytes, lost: Sequence[LostFrame] = ()) -> None:
        moved = _moved(intent.source, Position(intent.epoch, intent.partition, intent.hi, key))
        kept = [_kept(intent.source, intent.decode, one) for one in lost]
        await self._file.together([*kept, moved, _forgotten(intent)])

    async def forget(self, intent: Intent) -> None:
        await self._file.run(*_forgotten(intent))

    async def keep_lost(self, source: str, decode: str, lost: Sequence[LostFrame]) -> None:
        await self._file.together([_kept(source, decode, one) for one in lost])

    async def gap(self, gap: Gap) -> None:
        values = (
            micros(datetime.now(UTC)), gap.source, gap.symbol, micros(gap.since), micros(gap.until), gap.cause, gap.says,
            gap.repaired_by,
        )  # fmt: skip
        known = "SELECT 1 FROM gaps WHERE source = ? AND symbol = ? AND cause = ? AND says = ? AND until = ?"
        sql = f"INSERT INTO gaps SELECT NULL, {marks(values)} WHERE NOT EXISTS ({known})"
        same = (gap.source, gap.symbol, gap.cause, gap.says, micros(gap.until))
        await self._file.run(sql, (*values, *same))

    async def feed(self, source: str) -> tuple[str, datetime] | None:
        rows = await self._file.run("SELECT state, at FROM feeds WHERE source = ?", (source,))
        return (rows[0]["state"], moment(rows[0]["at"])) if rows else None

    async def note_feed(self, source: str, state: str, at: datetime) -> None:
        await self._file.run("INSERT OR REPLACE INTO feeds VALUES (?, ?, ?)", (source, state, micros(at)))


def _moved(source: str, to: Position) -> tuple[str, Sequence[Any]]:
    """A position never goes back: an intent may be settled after a later one."""
    sql = (
        "INSERT INTO positions VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " key = iif(excluded.offset >= offset, excluded.key, key), offset = max(offset, excluded.offset)"
    )
    return sql, (source, to.epoch, to.partition, to.offset, to.key)


def _forgotten(intent: Intent) -> tuple[str, Sequence[Any]]:
    sql = "DELETE FROM intents WHERE source = ? AND epoch = ? AND partition = ? AND lo = ? AND nonce = ?"
    return sql, (intent.source, intent.epoch, intent.partition, intent.lo, intent.nonce)


def _kept(source: str, decode: str, one: LostFrame) -> tuple[str, Sequence[Any]]:
    values = (
        micros(datetime.now(UTC)), source, decode, one.epoch, one.partition, one.offset,
        one.text[:TEXT_BYTES], one.reason,
    )  # fmt: skip
    return (f"INSERT OR IGNORE INTO lost_frames VALUES (NULL, {marks(values)})", values)


def _intent(row: sqlite3.Row) -> Intent:
    told = {key: row[key] for key in row.keys() if key not in {"id", "day"}}  # noqa: SIM118
    return Intent(**told, day=date.fromisoformat(row["day"]))
