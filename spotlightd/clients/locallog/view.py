"""A look at the local log of a daemon that may be running: for commands, which must not write it.

Only the process that writes is told of appends, so this one looks at the file again and again while it is open.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from spotlightd.clients.locallog.reader import LogReader, LogReading, Part
from spotlightd.errors import StoreError
from spotlightd.model.bus import Ends, Records, Topic

LOOK_SECONDS = 0.1
STANDS = """
SELECT t.id, t.name, t.log_id, p.partition, p.first, ifnull((SELECT b.hi FROM blocks b
    WHERE b.topic = p.topic AND b.partition = p.partition ORDER BY b.lo DESC LIMIT 1), p.first) AS last
FROM topics t JOIN partitions p ON p.topic = t.id ORDER BY t.id, p.partition
"""


class LogView(LogReader):
    """The port `Bus` for those who only read. StoreError from what would write, and when there is no such file."""

    MODE: ClassVar[str] = "rw"  # the last who opens a file has to tidy its log of writes; nothing else is written

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._parts: dict[tuple[int, int], Part] = {}
        self._ids: dict[str, tuple[int, str]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if not self.path.exists():
            raise StoreError(f"there is no log {self.path}: has the daemon ever listened to a stream?")
        await super().__aenter__()
        try:
            await self._look()
        except BaseException:
            await super().__aexit__(None, None, None)
            raise
        self._looking = asyncio.create_task(self._keep_looking(), name=f"look at {self.path.name}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        await super().__aexit__(kind, error, trace)

    def _open(self) -> None:
        super()._open()
        self.execute("PRAGMA query_only=ON")

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look()
            except StoreError:
                self._lose(list(self._parts))

    async def _look(self) -> None:
        rows = await self.run(STANDS)
        self._ids = {row["name"]: (row["id"], row["log_id"]) for row in rows}
        for row in rows:
            place = (row["id"], row["partition"])
            part = self._parts.setdefault(place, Part(row["id"], row["name"], row["partition"]))
            part.first = row["first"]
            if row["last"] > part.end:
                part.end = row["last"]
                part.wake()
        there = {(row["id"], row["partition"]) for row in rows}
        self._lose([place for place in self._parts if place not in there])

    def _lose(self, places: Sequence[tuple[int, int]]) -> None:
        """Who reads there is told that it is gone."""
        for place in places:
            part = self._parts.pop(place)
            part.gone = True
            part.wake()

    def _part(self, topic: str, partition: int) -> Part:
        number, _ = self._ids.get(topic, (0, ""))
        if (number, partition) not in self._parts:
            raise StoreError(f"there is no partition {partition} of topic {topic} in {self.path}")
        return self._parts[number, partition]

    async def ping(self) -> None:
        await self._look()

    async def log_id(self, topic: str) -> str:
        await self._look()
        return self._ids[topic][1] if topic in self._ids else ""

    async def ends(self, topic: str) -> Mapping[int, Ends]:
        await self._look()
        if topic not in self._ids:
            raise StoreError(f"there is no topic {topic} in {self.path}")
        return {part.partition: part.ends for part in self._parts.values() if part.topic == self._ids[topic][0]}

    def reading(self, topic: str, partition: int, offset: int) -> AbstractAsyncContextManager[LogReading]:
        return self._reading(topic, partition, offset)

    @asynccontextmanager
    async def _reading(self, topic: str, partition: int, offset: int) -> AsyncIterator[LogReading]:
        yield LogReading(self, self._part(topic, partition), offset)

    async def peek(self, topic: str, partition: int, offset: int, *, most: int) -> Records:
        await self._look()
        return await self.peek_at(self._part(topic, partition), offset, most)

    async def ensure(self, topic: Topic) -> None:
        raise self._refusal(topic.name)

    async def append(self, topic: str, partition: int, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        del partition, keys, values
        raise self._refusal(topic)

    async def committed(self, topic: str, partition: int, offset: int) -> None:
        del partition, offset
        raise self._refusal(topic)

    def _refusal(self, topic: str) -> StoreError:
        return StoreError(f"{self.path} is open for a look only: nothing of topic {topic} can be changed")
