"""Reading the local log beside the appends: with a read-only connection and a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import ClassVar

from spotlightd.clients.locallog.blocks import join_records, unpack_block
from spotlightd.clients.sqlite import BUSY_SECONDS, SqliteFile
from spotlightd.errors import OffsetError, StoreError
from spotlightd.model.bus import Ends, Records

GROUPS_AT_ONCE = 256
PEEK_BYTES = 16 << 20
FEW_FRAMES = 1_000  # so many are read when the group is due, in one piece; more are read as they come
ARRIVALS = 128  # appends whose time is remembered; a reader of older records need not wait for more


@dataclass(slots=True, eq=False)
class PartitionState:
    """One partition as it is in the file. Only the file's thread changes the numbers, each time after its commit.

    Offsets [first, end) exist, those below `durable_end` are durable elsewhere. `first_bytes`, `durable_bytes` and
    `end_bytes` are the stored bytes of all groups that ever were below that offset, as in schema.sql.
    """

    topic: int
    name: str
    partition: int
    first: int = 0
    first_bytes: int = 0
    durable_end: int = 0
    durable_bytes: int = 0
    end: int = 0
    end_bytes: int = 0
    is_deleted: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    arrivals: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=ARRIVALS))

    @property
    def ends(self) -> Ends:
        return Ends(self.first, self.end)

    @property
    def pending(self) -> tuple[int, int]:
        """(records, bytes on the disk) that are not known to be durable elsewhere."""
        return self.end - self.durable_end, self.end_bytes - self.durable_bytes

    def wake(self) -> None:
        """Wake the readers: there are more records, or the partition was deleted. Runs in the event loop."""
        self.arrivals.append((self.end, asyncio.get_running_loop().time()))
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def arrival_time(self, offset: int) -> float:
        """When that record came, in the loop's time; minus infinity when that is not remembered."""
        return next((time for end, time in self.arrivals if end > offset), float("-inf"))


class LogReader(SqliteFile):
    """The file, opened for reading only."""

    MODE: ClassVar[str] = "ro"

    def _open(self) -> None:
        address = f"{self.path.resolve().as_uri()}?mode={self.MODE}"
        self._db = sqlite3.connect(
            address, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS
        )
        self._db.row_factory = sqlite3.Row

    async def peek_from(self, state: PartitionState, offset: int, most: int) -> Records:
        """From the oldest record on when that offset was deleted already; empty when there are no records."""
        start = max(offset, state.first)
        if start >= state.end or most <= 0:
            return join_records([])
        try:
            groups = await self.run_in_thread(lambda: self.read_groups(state, start, most, PEEK_BYTES))
        except OffsetError:  # trimmed or deleted since `first` was read
            return join_records([])
        records = join_records(groups)
        return records.slice(0, min(most, len(records)))

    def read_groups(self, state: PartitionState, start: int, frames: int, size: int) -> list[Records]:
        """Groups from that offset on until they hold that many frames or bytes, at least one; in the file's thread.

        None beyond the end that the state knows: the file of another process may have grown since.
        """
        place = (state.topic, state.partition)
        rows = self.execute(
            "SELECT lo, hi, size FROM blocks WHERE topic = ? AND partition = ? AND lo >= (SELECT max(lo) FROM blocks"
            f" WHERE topic = ? AND partition = ? AND lo <= ?) AND lo < ? ORDER BY lo LIMIT {GROUPS_AT_ONCE}",
            (*place, *place, start, state.end),
        )
        sizes = accumulate(row["size"] for row in rows)
        counts = (n for n, total in enumerate(sizes, 1) if rows[n - 1]["hi"] - start >= frames or total >= size)
        wanted = rows[: next(counts, len(rows))]
        blocks = self.execute(
            "SELECT lo, block FROM blocks WHERE topic = ? AND partition = ? AND lo BETWEEN ? AND ? ORDER BY lo",
            (*place, wanted[0]["lo"], wanted[-1]["lo"]) if wanted else (*place, 1, 0),
        )
        if not wanted or len(blocks) != len(wanted):
            raise make_offset_error(state, start)
        try:
            groups = [unpack_block(row["lo"], row["block"]) for row in blocks]
        except ValueError as problem:
            raise StoreError(f"{self.path} holds {problem} near offset {start} of topic {state.name}") from problem
        groups[0] = groups[0].slice(start - groups[0].offsets[0], len(groups[0]))
        return groups


def make_offset_error(state: PartitionState, offset: int) -> OffsetError:
    if state.is_deleted:
        return OffsetError(f"topic {state.name} was deleted, or deleted and created again, while it was being read")
    return OffsetError(
        f"partition {state.partition} of topic {state.name} holds offsets {state.first} to {state.end}, not {offset}"
    )


class LogPartitionReader:
    """The port `PartitionReader`. Groups are read from the file whole, and returned as they are asked for.

    The `seconds` of `next` count from the arrival of a record: a caller that comes late gets at once what has gathered.
    """

    def __init__(self, reader: LogReader, state: PartitionState, offset: int) -> None:
        self._reader = reader
        self._state = state
        self._offset = offset  # the next to be returned
        self._groups: deque[Records] = deque()  # read from the file and not returned yet
        self._count = self._size = 0

    async def next(self, *, frames: int, size: int, seconds: float, idle_seconds: float = 1.0) -> Records:
        loop = asyncio.get_running_loop()
        started = loop.time()
        while True:
            changed = self._state.changed  # read before the file is: a later append sets this very event
            waiting = self._count_waiting()
            end = self._state.arrival_time(self._offset) + seconds if waiting else started + idle_seconds
            left = end - loop.time()
            if left <= 0 or waiting >= min(frames, FEW_FRAMES):
                await self._fill(frames, size)
                left = end - loop.time()
            if left <= 0 or self._is_full(frames, size):
                return self._take(frames, size) if waiting else join_records([])
            await _wait_for(changed, left)

    def _count_waiting(self) -> int:
        """How many records there are, read from the file or not."""
        state = self._state
        if state.is_deleted or not state.first <= self._offset + self._count <= state.end:
            raise make_offset_error(state, self._offset + self._count)
        return state.end - self._offset

    def _is_full(self, frames: int, size: int) -> bool:
        return self._count >= frames or self._size >= size

    async def _fill(self, frames: int, size: int) -> None:
        while not self._is_full(frames, size):
            start, state = self._offset + self._count, self._state
            if self._count_waiting() == self._count:
                return
            read = partial(self._reader.read_groups, state, start, frames - self._count, size - self._size)
            groups = await self._reader.run_in_thread(read)
            self._groups += groups
            self._count += sum(map(len, groups))
            self._size += sum(sum(map(len, group.values)) for group in groups)

    def _take(self, frames: int, size: int) -> Records:
        parts: list[Records] = []
        while self._groups and frames > 0:
            group = self._groups.popleft()
            sizes = list(accumulate(map(len, group.values[:frames])))
            count = min(len(group), frames, max(bisect_right(sizes, size), 0 if parts else 1))
            if count < len(group):
                self._groups.appendleft(group.slice(count, len(group)))
            if not count:
                break
            parts.append(group.slice(0, count))
            self._count, self._size = self._count - count, self._size - sizes[count - 1]
            self._offset += count
            frames, size = frames - count, size - sizes[count - 1]
            if count < len(group):
                break
        return join_records(parts)


async def _wait_for(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, at most for that time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
