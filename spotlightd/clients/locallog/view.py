"""A read-only view of the local log of a daemon that may be running: for commands, which must not write it.

Only the process that writes knows of appends, so the view polls the file while it is open.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from spotlightd.clients.locallog.reader import LogPartitionReader, LogReader, PartitionState
from spotlightd.errors import StoreError
from spotlightd.model.bus import Ends, Records, Topic

POLL_SECONDS = 0.1
PARTITIONS_SQL = """
SELECT t.id, t.name, t.log_id, p.partition, p.first, ifnull((SELECT b.hi FROM blocks b
    WHERE b.topic = p.topic AND b.partition = p.partition ORDER BY b.lo DESC LIMIT 1), p.first) AS last
FROM topics t JOIN partitions p ON p.topic = t.id ORDER BY t.id, p.partition
"""


class LogView(LogReader):
    """The port `Bus`, for reading only. StoreError from calls that would write, and when there is no such file."""

    MODE: ClassVar[str] = (
        "rw"  # the last process to close the file has to clean up its write-ahead log; nothing else is written
    )

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._partitions: dict[tuple[int, int], PartitionState] = {}
        self._ids: dict[str, tuple[int, str]] = {}
        self._polling: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if not self.path.exists():
            raise StoreError(f"there is no log {self.path}: has the daemon ever listened to a stream?")
        await super().__aenter__()
        try:
            await self._refresh()
        except BaseException:
            await super().__aexit__(None, None, None)
            raise
        self._polling = asyncio.create_task(self._poll(), name=f"poll {self.path.name}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.wait([self._polling])
        await super().__aexit__(kind, error, trace)

    def _open(self) -> None:
        super()._open()
        self.execute("PRAGMA query_only=ON")

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self._refresh()
            except StoreError:
                self._remove(list(self._partitions))

    async def _refresh(self) -> None:
        rows = await self.run(PARTITIONS_SQL)
        self._ids = {row["name"]: (row["id"], row["log_id"]) for row in rows}
        for row in rows:
            place = (row["id"], row["partition"])
            new = PartitionState(row["id"], row["name"], row["partition"])
            state = self._partitions.setdefault(place, new)
            state.first = row["first"]
            if row["last"] > state.end:
                state.end = row["last"]
                state.wake()
        existing = {(row["id"], row["partition"]) for row in rows}
        self._remove([place for place in self._partitions if place not in existing])

    def _remove(self, places: Sequence[tuple[int, int]]) -> None:
        """Mark partitions as deleted, and wake their readers."""
        for place in places:
            state = self._partitions.pop(place)
            state.is_deleted = True
            state.wake()

    def _partition(self, topic: str, partition: int) -> PartitionState:
        topic_id, _ = self._ids.get(topic, (0, ""))
        if (topic_id, partition) not in self._partitions:
            raise StoreError(f"there is no partition {partition} of topic {topic} in {self.path}")
        return self._partitions[topic_id, partition]

    async def ping(self) -> None:
        await self._refresh()

    async def log_id(self, topic: str) -> str:
        await self._refresh()
        return self._ids[topic][1] if topic in self._ids else ""

    async def ends(self, topic: str) -> Mapping[int, Ends]:
        await self._refresh()
        if topic not in self._ids:
            raise StoreError(f"there is no topic {topic} in {self.path}")
        return {
            state.partition: state.ends for state in self._partitions.values() if state.topic == self._ids[topic][0]
        }

    def open_reader(self, topic: str, partition: int, offset: int) -> AbstractAsyncContextManager[LogPartitionReader]:
        return self._open_reader(topic, partition, offset)

    @asynccontextmanager
    async def _open_reader(self, topic: str, partition: int, offset: int) -> AsyncIterator[LogPartitionReader]:
        yield LogPartitionReader(self, self._partition(topic, partition), offset)

    async def peek(self, topic: str, partition: int, offset: int, *, most: int) -> Records:
        await self._refresh()
        return await self.peek_from(self._partition(topic, partition), offset, most)

    async def ensure(self, topic: Topic) -> None:
        raise self._make_error(topic.name)

    async def append(self, topic: str, partition: int, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        del partition, keys, values
        raise self._make_error(topic)

    async def commit(self, topic: str, partition: int, offset: int) -> None:
        del partition, offset
        raise self._make_error(topic)

    def _make_error(self, topic: str) -> StoreError:
        return StoreError(f"{self.path} is open read-only: topic {topic} cannot be changed")
