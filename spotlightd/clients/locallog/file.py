"""The file of the local log: topics, partitions and groups of records, and how they come in and go out again.

Everything that changes the file runs in its thread, in pieces that are short: an append never waits for a long one.
What the file holds is known in memory too, and changes there after each commit, in that thread.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

from spotlightd.clients.locallog.blocks import Group, packed, pieces, tops
from spotlightd.clients.locallog.reader import Part
from spotlightd.clients.sqlite import SqliteFile, marks
from spotlightd.errors import StoreError
from spotlightd.model.bus import Topic

ANSWER_SECONDS = 60.0
CHECKPOINT_PAGES = 4_000
GROUPS_AT_ONCE = 200
HOUR_NANOSECONDS = 3_600 * 10**9
SPARE_BYTES = 64 << 20  # of free pages, that the file keeps for what comes next
TRIM_BYTES = 16 << 20
VACUUM_PAGES = 1_000
WAL_BYTES = 64 << 20
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Known:
    """A topic as the file holds it."""

    id: int
    log_id: str
    parts: dict[int, Part] = field(default_factory=dict)


class LogFile(SqliteFile):
    """What the embedded bus and the spool are made of. One process writes it; others may read."""

    SCHEMA_FILE = "locallog/schema.sql"
    SCHEMA_VERSION = 1

    def __init__(self, path: Path, *, spare_bytes: int = SPARE_BYTES) -> None:
        super().__init__(path)
        self._spare_bytes = spare_bytes
        self._known: dict[str, Known] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        return await super().__aenter__()

    def _open(self) -> None:
        if not self.path.exists() or not self.path.stat().st_size:
            new = sqlite3.connect(self.path, isolation_level=None)
            new.execute("PRAGMA auto_vacuum=INCREMENTAL")  # has an effect before the first page is written only
            new.execute("PRAGMA journal_mode=WAL")
            new.close()
        super()._open()
        self.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        self.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")
        for row in self.execute("SELECT * FROM topics"):
            self._know(row)

    async def within(self, work: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await super().within(work)
        except TimeoutError:
            raise StoreError(f"{self.path} did not answer within {ANSWER_SECONDS:.0f} s: is its disk well?") from None

    async def ensure(self, topic: Topic) -> None:
        known = self._known.get(topic.name)
        if known is None or len(known.parts) < topic.partitions:
            await self.within(lambda: self._make(topic))

    def _make(self, topic: Topic) -> None:
        make = (
            "INSERT INTO topics (name, log_id) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (topic.name, secrets.token_hex(16)),
        )
        grow = "INSERT OR IGNORE INTO partitions (topic, partition) SELECT id, ? FROM topics WHERE name = ?"
        which = ("SELECT * FROM topics WHERE name = ?", (topic.name,))
        numbers = range(topic.partitions)
        (row,) = self.all_or_none([make, *((grow, (number, topic.name)) for number in numbers), which])
        self._know(row)

    def _know(self, topic: sqlite3.Row) -> None:
        """Also in memory, partitions first: nobody sees a topic that has none."""
        name = topic["name"]
        known = self._known.get(name) or Known(topic["id"], topic["log_id"])
        for row in self.execute("SELECT * FROM partitions WHERE topic = ?", (known.id,)):
            last = self.execute(
                "SELECT hi, upto FROM blocks WHERE topic = ? AND partition = ? ORDER BY lo DESC LIMIT 1",
                (known.id, row["partition"]),
            )
            end, total = last[0] if last else (row["first"], row["first_bytes"])
            numbers = (row["first"], row["first_bytes"], row["freed"], row["freed_bytes"], end, total)
            known.parts.setdefault(row["partition"], Part(known.id, name, row["partition"], *numbers))
        self._known[name] = known

    def parts(self, topic: str) -> Sequence[Part]:
        """By partition what is known of it. StoreError when there is no such topic."""
        if topic not in self._known:
            raise StoreError(f"there is no topic {topic} in {self.path}")
        return list(self._known[topic].parts.values())

    def held(self, topic: str) -> tuple[int, int]:
        """(records, bytes on the disk) that are not known to be durable elsewhere. At once, and never an error."""
        known = self._known.get(topic)
        told = [part.held for part in list(known.parts.values())] if known else []
        return sum(count for count, _ in told), sum(size for _, size in told)

    def part(self, topic: str, partition: int) -> Part:
        known = self._known.get(topic)
        if known is None or partition not in known.parts:
            raise StoreError(f"there is no partition {partition} of topic {topic} in {self.path}")
        return known.parts[partition]

    async def write(self, groups: Sequence[Group]) -> None:
        """Append them all, in one transaction: all or none. StoreError when it is not certain that all are there."""
        await self.within(lambda: self._write(groups))

    def _write(self, groups: Sequence[Group]) -> None:
        ends: dict[Part, tuple[int, int]] = {}
        statements = []
        for group in (piece for whole in groups for piece in pieces(whole)):
            part, pack = self.part(group.topic, group.partition), packed(group)
            lo, total = ends.get(part, (part.end, part.end_bytes))
            hi, upto = ends[part] = (lo + pack.count, total + pack.stored)
            row = (part.topic, part.partition, lo, hi, pack.newest, pack.size, pack.stored, upto, pack.tops, pack.block)
            statements.append((f"INSERT INTO blocks VALUES ({marks(row)})", row))
        self.all_or_none(statements)
        for part, (end, total) in ends.items():
            part.end_bytes, part.end = total, end
            self._wake(part)

    def _wake(self, part: Part) -> None:
        """Whatever becomes of the one who asked for it: the commit happened."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(part.wake)

    # what is durable elsewhere

    async def free(self, topic: str, durable: Mapping[int, int]) -> None:
        """By connection up to which sequence frames are durable elsewhere: groups of such frames need no room."""
        for part in self.parts(topic):
            if part.freed < part.end:
                await self.within(lambda part=part: self.free_some(part, lambda row: _is_durable(row, durable)))  # type: ignore[misc]

    def free_some(self, part: Part, is_free: Callable[[sqlite3.Row], bool]) -> None:
        """From the oldest group that is not free on, as far as all are."""
        free: tuple[int, int] | None = None
        at = part.freed
        while rows := self.execute(
            "SELECT hi, upto, tops FROM blocks WHERE topic = ? AND partition = ? AND lo >= ?"
            f" ORDER BY lo LIMIT {GROUPS_AT_ONCE}",
            (part.topic, part.partition, at),
        ):
            stop = next((n for n, row in enumerate(rows) if not is_free(row)), len(rows))
            if stop:
                at, _ = free = (rows[stop - 1]["hi"], rows[stop - 1]["upto"])
            if stop < len(rows):
                break
        if free:
            sql = "UPDATE partitions SET freed = ?, freed_bytes = ? WHERE topic = ? AND partition = ?"
            self.execute(sql, (*free, part.topic, part.partition))
            part.freed, part.freed_bytes = free

    # what goes

    async def trim(self, topic: str, partition: int, before: int) -> None:
        """Forget the groups that are wholly below that offset."""
        await self._forget(self.part(topic, partition), lambda row: row["hi"] <= before)

    async def retain(self, topic: Topic, keep: Mapping[int, int]) -> None:
        """Forget groups beyond the topic's retention by age or size, but none that reaches beyond `keep`.

        `keep` is by partition how far it was drained; a partition that is not in it is not touched.
        """
        horizon = time.time_ns() - topic.retention_hours * HOUR_NANOSECONDS
        for part in self.parts(topic.name):
            upto = keep.get(part.partition, 0)
            surplus = part.end_bytes - topic.retention_bytes if topic.retention_bytes else 0
            await self._forget(part, lambda row, u=upto, s=surplus: row["hi"] <= u and (row["newest"] < horizon or row["upto"] <= s))  # type: ignore[misc]  # fmt: skip

    async def _forget(self, part: Part, is_over: Callable[[sqlite3.Row], bool]) -> None:
        while await self.within(lambda: self._forget_some(part, is_over)):
            pass
        await self.give_back()

    def _forget_some(self, part: Part, is_over: Callable[[sqlite3.Row], bool]) -> bool:
        """From the oldest on as far as all are over; whether there were any."""
        place = (part.topic, part.partition)
        rows = self.execute(
            "SELECT hi, newest, stored, upto FROM blocks WHERE topic = ? AND partition = ? ORDER BY lo"
            f" LIMIT {GROUPS_AT_ONCE}",
            place,
        )
        last: sqlite3.Row | None = None
        for row in rows:
            if not is_over(row) or (last and row["upto"] - part.first_bytes > TRIM_BYTES):
                break
            last = row
        if last is None:
            return False
        first, freed = (last["hi"], last["upto"]), max((last["hi"], last["upto"]), (part.freed, part.freed_bytes))
        sets = "first = ?, first_bytes = ?, freed = ?, freed_bytes = ?"
        self.all_or_none([
            ("DELETE FROM blocks WHERE topic = ? AND partition = ? AND lo < ?", (*place, first[0])),
            (f"UPDATE partitions SET {sets} WHERE topic = ? AND partition = ?", (*first, *freed, *place)),
        ])  # fmt: skip
        part.first, part.first_bytes = first
        part.freed, part.freed_bytes = freed
        return True

    async def give_back(self) -> None:
        """Give free pages back to the disk, but for some that the next appends take."""
        while await self.within(self._give_some_back):
            pass

    def _give_some_back(self) -> bool:
        (page,), (free,) = self.execute("PRAGMA page_size")[0], self.execute("PRAGMA freelist_count")[0]
        surplus = free - self._spare_bytes // page
        if surplus <= 0:
            return False
        self.execute(f"PRAGMA incremental_vacuum({min(surplus, VACUUM_PAGES)})")
        return bool(self.execute("PRAGMA freelist_count")[0][0] < free)

    async def size(self) -> int:
        """Bytes of the file on the disk, with what SQLite keeps beside it."""
        beside = [self.path.with_name(self.path.name + ending) for ending in ("", "-wal")]
        return await self.within(lambda: sum(one.stat().st_size for one in beside if one.exists()))

    async def delete(self, topic: str) -> None:
        """Forget the topic and all its records; one of this name made later is another log."""
        for part in self.parts(topic):
            await self._forget(part, lambda _: True)
        await self.within(lambda: self._delete(topic))

    def _delete(self, topic: str) -> None:
        known = self._known[topic]
        tables = {"topics": "id", "partitions": "topic", "blocks": "topic"}
        self.all_or_none([(f"DELETE FROM {table} WHERE {which} = ?", (known.id,)) for table, which in tables.items()])
        del self._known[topic]
        for part in known.parts.values():
            part.gone = True
            self._wake(part)


def _is_durable(row: sqlite3.Row, durable: Mapping[int, int]) -> bool:
    return all(durable.get(connection, -1) >= sequence for connection, sequence in tops(row["tops"]).items())
