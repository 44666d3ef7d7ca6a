"""Reading the local log: a connection of its own that can only read, in a thread of its own, beside the appends."""

from __future__ import annotations

import asyncio
import sqlite3
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import ClassVar

from spotlightd.clients.locallog.blocks import chained, span, unpacked
from spotlightd.clients.sqlite import BUSY_SECONDS, SqliteFile
from spotlightd.errors import OffsetError, StoreError
from spotlightd.model.bus import Ends, Records

GROUPS_AT_ONCE = 256
PEEK_BYTES = 16 << 20
ARRIVALS = 128  # appends whose moment is remembered; who reads what is older need not wait for more


@dataclass(slots=True, eq=False)
class Part:
    """One partition as the file holds it. The file's thread alone changes the numbers, each time after its commit.

    Offsets [first, end) are there, those below `freed` are durable elsewhere; `_bytes` as in schema.sql.
    """

    topic: int
    name: str
    partition: int
    first: int = 0
    first_bytes: int = 0
    freed: int = 0
    freed_bytes: int = 0
    end: int = 0
    end_bytes: int = 0
    gone: bool = False
    grown: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=ARRIVALS))

    @property
    def ends(self) -> Ends:
        return Ends(self.first, self.end)

    @property
    def held(self) -> tuple[int, int]:
        """(records, bytes on the disk) that are not known to be durable elsewhere."""
        return self.end - self.freed, self.end_bytes - self.freed_bytes

    def wake(self) -> None:
        """Tell those who wait that there is more, or nothing any more. In the loop."""
        self.arrived.append((self.end, asyncio.get_running_loop().time()))
        grown, self.grown = self.grown, asyncio.Event()
        grown.set()

    def arrival(self, offset: int) -> float:
        """When that record came, in the loop's time; long ago when that is not remembered."""
        return next((at for end, at in self.arrived if end > offset), float("-inf"))


class LogReader(SqliteFile):
    """The file, opened for reading only."""

    MODE: ClassVar[str] = "ro"

    def _open(self) -> None:
        address = f"{self.path.resolve().as_uri()}?mode={self.MODE}"
        self._db = sqlite3.connect(
            address, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS
        )
        self._db.row_factory = sqlite3.Row

    async def peek_at(self, part: Part, offset: int, most: int) -> Records:
        """From the oldest one on when that offset is gone already; empty when there is none."""
        at = max(offset, part.first)
        if at >= part.end or most <= 0:
            return chained([])
        try:
            found = chained(await self.within(lambda: self.records(part, at, most, PEEK_BYTES)))
        except OffsetError:  # trimmed, or deleted, between the two looks
            return chained([])
        return span(found, 0, min(most, len(found)))

    def records(self, part: Part, at: int, frames: int, size: int) -> list[Records]:
        """Groups from that offset on, until they are so many frames or bytes; in the file's thread. At least one."""
        place = (part.topic, part.partition)
        rows = self.execute(
            "SELECT lo, hi, size FROM blocks WHERE topic = ? AND partition = ? AND lo >= (SELECT max(lo) FROM blocks"
            f" WHERE topic = ? AND partition = ? AND lo <= ?) ORDER BY lo LIMIT {GROUPS_AT_ONCE}",
            (*place, *place, at),
        )
        sizes = accumulate(row["size"] for row in rows)
        enough = (n for n, total in enumerate(sizes, 1) if rows[n - 1]["hi"] - at >= frames or total >= size)
        wanted = rows[: next(enough, len(rows))]
        blocks = self.execute(
            "SELECT lo, block FROM blocks WHERE topic = ? AND partition = ? AND lo BETWEEN ? AND ? ORDER BY lo",
            (*place, wanted[0]["lo"], wanted[-1]["lo"]) if wanted else (*place, 1, 0),
        )
        if not wanted or len(blocks) != len(wanted):
            raise lost(part, at)
        try:
            found = [unpacked(row["lo"], row["block"]) for row in blocks]
        except ValueError as problem:
            raise StoreError(f"{self.path} holds {problem} near offset {at} of topic {part.name}") from problem
        found[0] = span(found[0], at - found[0].offsets[0], len(found[0]))
        return found


def lost(part: Part, offset: int) -> OffsetError:
    if part.gone:
        return OffsetError(f"topic {part.name} was deleted, or made anew, while it was being read")
    return OffsetError(
        f"partition {part.partition} of topic {part.name} holds offsets {part.first} to {part.end}, not {offset}"
    )


class LogReading:
    """The port `Reading`. Groups are taken from the file whole, and handed on as they are asked for.

    What was there for `seconds` already is not waited with: whoever comes late gets at once what has gathered.
    """

    def __init__(self, reader: LogReader, part: Part, offset: int) -> None:
        self._reader = reader
        self._part = part
        self._offset = offset  # the next to be handed on
        self._groups: deque[Records] = deque()  # taken from the file, not handed on yet
        self._count = self._size = 0

    async def next(self, *, frames: int, size: int, seconds: float, idle_seconds: float = 1.0) -> Records:
        begun = asyncio.get_running_loop().time()
        while True:
            grown = self._part.grown  # before looking: what comes after the look sets it
            await self._fill(frames, size)
            end = self._part.arrival(self._offset) + seconds if self._count else begun + idle_seconds
            left = end - asyncio.get_running_loop().time()
            if self._full(frames, size) or left <= 0 or not await _happens(grown, left):
                return self._taken(frames, size)

    def _full(self, frames: int, size: int) -> bool:
        return self._count >= frames or self._size >= size

    async def _fill(self, frames: int, size: int) -> None:
        while not self._full(frames, size):
            at, part = self._offset + self._count, self._part
            if part.gone or not part.first <= at <= part.end:
                raise lost(part, at)
            if at == part.end:
                return
            look = partial(self._reader.records, part, at, frames - self._count, size - self._size)
            found = await self._reader.within(look)
            self._groups += found
            self._count += sum(map(len, found))
            self._size += sum(sum(map(len, one.values)) for one in found)

    def _taken(self, frames: int, size: int) -> Records:
        parts: list[Records] = []
        while self._groups and frames > 0:
            group = self._groups.popleft()
            upto = list(accumulate(map(len, group.values[:frames])))
            some = min(len(group), frames, max(bisect_right(upto, size), 0 if parts else 1))
            if some < len(group):
                self._groups.appendleft(span(group, some, len(group)))
            if not some:
                break
            parts.append(span(group, 0, some))
            self._count, self._size = self._count - some, self._size - upto[some - 1]
            self._offset += some
            frames, size = frames - some, size - upto[some - 1]
            if some < len(group):
                break
        return chained(parts)


async def _happens(event: asyncio.Event, seconds: float) -> bool:
    """Whether it does, in that time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
