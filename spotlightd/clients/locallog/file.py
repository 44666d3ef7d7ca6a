"""The file of the local log: topics, partitions and groups of records, how they are written and deleted.

A record gets its offset here, when its group is written (`LogFile.write`).

All changes of the file run in its thread, in short pieces: an append never waits for a long one. The state of topics and
partitions is in memory too, and changes there after each commit, in that thread.
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

from spotlightd.clients.locallog.blocks import Group, pack_group, split_group, unpack_last_sequences
from spotlightd.clients.locallog.reader import PartitionState
from spotlightd.clients.sqlite import SqliteFile, placeholders
from spotlightd.errors import StoreError
from spotlightd.model.bus import Topic

ANSWER_SECONDS = 60.0
CHECKPOINT_PAGES = 4_000
GROUPS_AT_ONCE = 200
HOUR_NANOSECONDS = 3_600 * 10**9
SPARE_BYTES = 64 << 20  # free pages that the file keeps for the next appends
TRIM_BYTES = 16 << 20
VACUUM_PAGES = 1_000
WAL_BYTES = 64 << 20
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it is in the file; `partitions` by number."""

    id: int
    log_id: str
    partitions: dict[int, PartitionState] = field(default_factory=dict)


class LogFile(SqliteFile):
    """The base of the embedded bus and of the spool. One process writes the file; others may read it."""

    SCHEMA_FILE = "locallog/schema.sql"
    SCHEMA_VERSION = 1

    def __init__(self, path: Path, *, spare_bytes: int = SPARE_BYTES) -> None:
        super().__init__(path)
        self._spare_bytes = spare_bytes
        self._topics: dict[str, TopicState] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        return await super().__aenter__()

    def _open(self) -> None:
        if not self.path.exists() or not self.path.stat().st_size:
            new = sqlite3.connect(self.path, isolation_level=None)
            new.execute("PRAGMA auto_vacuum=INCREMENTAL")  # takes effect only before the first page is written
            new.execute("PRAGMA journal_mode=WAL")
            new.close()
        super()._open()
        self.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        self.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")
        for row in self.execute("SELECT * FROM topics"):
            self._load_topic(row)

    async def run_in_thread(self, work: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await super().run_in_thread(work)
        except TimeoutError:
            raise StoreError(f"{self.path} did not answer within {ANSWER_SECONDS:.0f} s: check its disk") from None

    async def ensure(self, topic: Topic) -> None:
        state = self._topics.get(topic.name)
        if state is None or len(state.partitions) < topic.partitions:
            await self.run_in_thread(lambda: self._create_topic(topic))

    def _create_topic(self, topic: Topic) -> None:
        create = (
            "INSERT INTO topics (name, log_id) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (topic.name, secrets.token_hex(16)),
        )
        add_partition = "INSERT OR IGNORE INTO partitions (topic, partition) SELECT id, ? FROM topics WHERE name = ?"
        select = ("SELECT * FROM topics WHERE name = ?", (topic.name,))
        numbers = range(topic.partitions)
        (row,) = self.execute_transaction([create, *((add_partition, (n, topic.name)) for n in numbers), select])
        self._load_topic(row)

    def _load_topic(self, topic: sqlite3.Row) -> None:
        """Read a topic's state into memory, its partitions first: no topic is visible without partitions."""
        name = topic["name"]
        state = self._topics.get(name) or TopicState(topic["id"], topic["log_id"])
        for row in self.execute("SELECT * FROM partitions WHERE topic = ?", (state.id,)):
            last = self.execute(
                "SELECT hi, upto FROM blocks WHERE topic = ? AND partition = ? ORDER BY lo DESC LIMIT 1",
                (state.id, row["partition"]),
            )
            end, total = last[0] if last else (row["first"], row["first_bytes"])
            numbers = (row["first"], row["first_bytes"], row["freed"], row["freed_bytes"], end, total)
            partition = PartitionState(state.id, name, row["partition"], *numbers)
            state.partitions.setdefault(row["partition"], partition)
        self._topics[name] = state

    def partitions(self, topic: str) -> Sequence[PartitionState]:
        """The states of a topic's partitions. StoreError when there is no such topic."""
        if topic not in self._topics:
            raise StoreError(f"there is no topic {topic} in {self.path}")
        return list(self._topics[topic].partitions.values())

    def pending(self, topic: str) -> tuple[int, int]:
        """(records, bytes on the disk) that are not known to be durable elsewhere. Does not wait and never fails."""
        state = self._topics.get(topic)
        pending = [partition.pending for partition in list(state.partitions.values())] if state else []
        return sum(count for count, _ in pending), sum(size for _, size in pending)

    def partition(self, topic: str, partition: int) -> PartitionState:
        state = self._topics.get(topic)
        if state is None or partition not in state.partitions:
            raise StoreError(f"there is no partition {partition} of topic {topic} in {self.path}")
        return state.partitions[partition]

    async def write(self, groups: Sequence[Group]) -> None:
        """Append all groups in one transaction: all or none. StoreError when it is not certain that all were written."""
        await self.run_in_thread(lambda: self._write(groups))

    def _write(self, groups: Sequence[Group]) -> None:
        ends: dict[PartitionState, tuple[int, int]] = {}
        statements = []
        for group in (piece for whole in groups for piece in split_group(whole)):
            state, packed = self.partition(group.topic, group.partition), pack_group(group)
            lo, total = ends.get(state, (state.end, state.end_bytes))
            stored = packed.stored_bytes
            hi, upto = ends[state] = (lo + packed.count, total + stored)
            numbers = (state.topic, state.partition, lo, hi, packed.newest, packed.size, stored, upto)
            row = (*numbers, packed.last_sequences, packed.block)
            statements.append((f"INSERT INTO blocks VALUES ({placeholders(row)})", row))
        self.execute_transaction(statements)
        for state, (end, total) in ends.items():
            state.end_bytes, state.end = total, end
            self._wake(state)

    def _wake(self, state: PartitionState) -> None:
        """Wake the readers, even when the caller was cancelled: the commit happened."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(state.wake)

    # what is durable elsewhere

    async def mark_durable(self, topic: str, durable: Mapping[int, int]) -> None:
        """`durable` maps a connection to its last sequence that is durable elsewhere: such groups need no room."""
        for state in self.partitions(topic):
            if state.durable_end < state.end:
                await self.run_in_thread(
                    lambda state=state: self.advance_durable(state, lambda row: _is_durable(row, durable))  # type: ignore[misc]
                )

    def advance_durable(self, state: PartitionState, is_durable: Callable[[sqlite3.Row], bool]) -> None:
        """Move `durable_end` on, from where it is up to the first group that is not durable."""
        durable: tuple[int, int] | None = None
        end = state.durable_end
        while rows := self.execute(
            "SELECT hi, upto, tops FROM blocks WHERE topic = ? AND partition = ? AND lo >= ?"
            f" ORDER BY lo LIMIT {GROUPS_AT_ONCE}",
            (state.topic, state.partition, end),
        ):
            stop = next((index for index, row in enumerate(rows) if not is_durable(row)), len(rows))
            if stop:
                end, _ = durable = (rows[stop - 1]["hi"], rows[stop - 1]["upto"])
            if stop < len(rows):
                break
        if durable:
            sql = "UPDATE partitions SET freed = ?, freed_bytes = ? WHERE topic = ? AND partition = ?"
            self.execute(sql, (*durable, state.topic, state.partition))
            state.durable_end, state.durable_bytes = durable

    # deletion

    async def trim(self, topic: str, partition: int, before: int) -> None:
        """Delete the groups that are wholly below that offset."""
        await self._delete_groups(self.partition(topic, partition), lambda row: row["hi"] <= before)

    async def retain(self, topic: Topic, keep: Mapping[int, int]) -> None:
        """Delete groups beyond the topic's retention by age or size, but no group that reaches beyond `keep`.

        `keep` maps a partition to the offset up to which it was drained; other partitions are not changed.
        """
        oldest = time.time_ns() - topic.retention_hours * HOUR_NANOSECONDS
        for state in self.partitions(topic.name):
            drained = keep.get(state.partition, 0)
            surplus = state.end_bytes - topic.retention_bytes if topic.retention_bytes else 0

            def is_expired(row: sqlite3.Row, drained: int = drained, surplus: int = surplus) -> bool:
                return bool(row["hi"] <= drained and (row["newest"] < oldest or row["upto"] <= surplus))

            await self._delete_groups(state, is_expired)

    async def _delete_groups(self, state: PartitionState, is_expired: Callable[[sqlite3.Row], bool]) -> None:
        while await self.run_in_thread(lambda: self._delete_some_groups(state, is_expired)):
            pass
        await self.shrink()

    def _delete_some_groups(self, state: PartitionState, is_expired: Callable[[sqlite3.Row], bool]) -> bool:
        """Delete from the oldest group on up to the first that is not expired; whether there were any."""
        place = (state.topic, state.partition)
        rows = self.execute(
            "SELECT hi, newest, stored, upto FROM blocks WHERE topic = ? AND partition = ? ORDER BY lo"
            f" LIMIT {GROUPS_AT_ONCE}",
            place,
        )
        last: sqlite3.Row | None = None
        for row in rows:
            if not is_expired(row) or (last and row["upto"] - state.first_bytes > TRIM_BYTES):
                break
            last = row
        if last is None:
            return False
        first = (last["hi"], last["upto"])
        durable = max(first, (state.durable_end, state.durable_bytes))
        columns = "first = ?, first_bytes = ?, freed = ?, freed_bytes = ?"
        self.execute_transaction([
            ("DELETE FROM blocks WHERE topic = ? AND partition = ? AND lo < ?", (*place, first[0])),
            (f"UPDATE partitions SET {columns} WHERE topic = ? AND partition = ?", (*first, *durable, *place)),
        ])  # fmt: skip
        state.first, state.first_bytes = first
        state.durable_end, state.durable_bytes = durable
        return True

    async def shrink(self) -> None:
        """Return free pages to the disk, except SPARE_BYTES for the next appends."""
        while await self.run_in_thread(self._shrink_some):
            pass

    def _shrink_some(self) -> bool:
        (page,), (free,) = self.execute("PRAGMA page_size")[0], self.execute("PRAGMA freelist_count")[0]
        surplus = free - self._spare_bytes // page
        if surplus <= 0:
            return False
        self.execute(f"PRAGMA incremental_vacuum({min(surplus, VACUUM_PAGES)})")
        return bool(self.execute("PRAGMA freelist_count")[0][0] < free)

    async def size(self) -> int:
        """Bytes of the file on the disk, with SQLite's write-ahead log beside it."""
        paths = [self.path.with_name(self.path.name + ending) for ending in ("", "-wal")]
        return await self.run_in_thread(lambda: sum(path.stat().st_size for path in paths if path.exists()))

    async def delete(self, topic: str) -> None:
        """Delete the topic and all its records. A topic of this name that is created later is another log."""
        for state in self.partitions(topic):
            await self._delete_groups(state, lambda _: True)
        await self.run_in_thread(lambda: self._delete(topic))

    def _delete(self, topic: str) -> None:
        state = self._topics[topic]
        tables = {"topics": "id", "partitions": "topic", "blocks": "topic"}
        self.execute_transaction(
            [(f"DELETE FROM {table} WHERE {column} = ?", (state.id,)) for table, column in tables.items()]
        )
        del self._topics[topic]
        for partition in state.partitions.values():
            partition.is_deleted = True
            self._wake(partition)


def _is_durable(row: sqlite3.Row, durable: Mapping[int, int]) -> bool:
    last_sequences = unpack_last_sequences(row["tops"])
    return all(durable.get(connection, -1) >= sequence for connection, sequence in last_sequences.items())
