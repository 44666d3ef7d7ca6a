"""In-memory twins of the ports, for our tests and for those of source authors. Each passes its port's contract suite."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from spotlightd.clients.atomic import PIECE_BYTES
from spotlightd.clients.documents.folder import place
from spotlightd.clients.http import address, body
from spotlightd.errors import PublisherError, StoreError
from spotlightd.metrics.table import REPORTED, Metric, find_metric, index
from spotlightd.model.disk import DiskUsage
from spotlightd.model.source import Batch
from spotlightd.ports.publisher import PublisherResponse
from spotlightd.ports.storage import StoredFile


@dataclass(frozen=True, slots=True)
class Reply:
    """What a publisher has under one address. With `breaks`, that error is raised after the bytes, or at once if none."""

    content: bytes = b""
    media_type: str = "application/octet-stream"
    last_modified: str = ""
    via: str = ""
    breaks: PublisherError | None = None

    @property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.content).hexdigest()[:16]}"'


@dataclass(frozen=True, slots=True)
class MemoryPublishers:
    """Publishers that have what `replies` holds by address, and nothing else. `asked` lists every request."""

    replies: dict[str, Reply] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def for_source(self, source: Batch) -> MemoryPublisher:
        return MemoryPublisher(self, source)


@dataclass(frozen=True, slots=True)
class MemoryPublisher:
    """The twin of a source's publisher: the same hosts, beginnings and sizes are refused, in the same words."""

    publishers: MemoryPublishers
    source: Batch

    async def page(self, url: str) -> str:
        reply = self._reply(url)
        async with aclosing(_checked(reply, url, b"", 4_000_000)) as chunks:
            whole = b"".join([chunk async for chunk in chunks])
        return body.text(whole, "utf-8", url)

    @asynccontextmanager
    async def fetch(
        self, url: str, *, etag: str = "", last_modified: str = ""
    ) -> AsyncIterator[PublisherResponse | None]:
        reply = self._reply(url)
        if etag == reply.etag or (last_modified and last_modified == reply.last_modified):
            yield None
            return
        async with aclosing(_checked(reply, url, self.source.begins_with, self.source.max_bytes)) as chunks:
            yield PublisherResponse(url, reply.via, reply.etag, reply.last_modified, reply.media_type, chunks)

    def _reply(self, url: str) -> Reply:
        host = address.allowed(url, self.source.hosts).host
        self.publishers.asked.append(url)
        reply = self.publishers.replies.get(url)
        if reply is None:
            raise PublisherError(f"{host} has no {url} (404 Not Found)", outcome="absent", status=404)
        if reply.breaks and not reply.content:
            raise reply.breaks
        return reply


async def _checked(reply: Reply, url: str, begins_with: bytes, most: int) -> AsyncGenerator[bytes]:
    async with aclosing(_arriving(reply)) as arriving:
        async for chunk in body.checked(arriving, url, begins_with=begins_with, most=most):
            yield chunk


async def _arriving(reply: Reply) -> AsyncGenerator[bytes]:
    for start in range(0, len(reply.content), 1000):
        yield reply.content[start : start + 1000]
    if reply.breaks:
        raise reply.breaks


class MemoryDocuments:
    """Documents in memory; `path` writes one into `folder`. With `refuses` set, every write and `ping` raises it."""

    def __init__(self, folder: Path, objects: Mapping[str, bytes] | None = None) -> None:
        self.objects = dict(objects or {})
        self.refuses: StoreError | None = None
        self._folder = folder

    async def ping(self) -> None:
        if self.refuses:
            raise self.refuses

    async def put(self, chunks: AsyncIterator[bytes]) -> StoredFile:
        whole = b"".join([chunk async for chunk in chunks])
        await self.ping()
        digest = hashlib.sha256(whole).hexdigest()
        new = digest not in self.objects
        self.objects[digest] = whole
        return StoredFile(digest, len(whole), new)

    @asynccontextmanager
    async def file(self, digest: str) -> AsyncIterator[Path]:
        yield self._file(digest)

    async def read(self, digest: str) -> AsyncGenerator[bytes]:
        whole = self._file(digest).read_bytes()
        for start in range(0, len(whole), PIECE_BYTES):
            yield whole[start : start + PIECE_BYTES]

    def _file(self, digest: str) -> Path:
        target = self._folder / digest
        if digest not in self.objects:
            raise StoreError(f"there is no document {place(self._folder, digest).name} in {self._folder}")
        if not target.exists():
            target.write_bytes(self.objects[digest])
            target.chmod(0o444)
        return target


class SilentMetrics:
    """Counts nothing, but checks every call against the table of metrics."""

    def __init__(self, table: Iterable[Metric] = REPORTED) -> None:
        self._table = index(table)

    def count(self, name: str, _value: float = 1, /, **labels: str) -> None:
        find_metric(self._table, name, "counter", labels)

    def gauge(self, name: str, _value: float, /, **labels: str) -> None:
        find_metric(self._table, name, "gauge", labels)

    def observe(self, name: str, _value: float, /, **labels: str) -> None:
        find_metric(self._table, name, "histogram", labels)


@dataclass
class MemoryDisks:
    """File systems that are as full as a test says: by mount their size and what others use of them. `hanging` do not
    answer.
    """

    mounts: dict[Path, tuple[int, int]]
    files: dict[Path, int] = field(default_factory=dict)
    hanging: set[Path] = field(default_factory=set)

    async def measure(self, folder: Path) -> DiskUsage:
        mount = self._mount(folder)
        size, used = self.mounts[mount]
        ours = sum(taken for file, taken in self.files.items() if self._mounted(file) == mount)
        return DiskUsage(str(mount), size, used + ours)

    async def allocated_bytes(self, file: Path) -> int:
        self._mount(file)
        return self.files.get(file, 0)

    async def reserve(self, file: Path, size: int) -> None:
        now = await self.measure(file)
        if size > now.free + self.files.get(file, 0):
            raise StoreError(f"{file}: No space left on device")
        self.files[file] = size

    async def remove(self, file: Path) -> None:
        self._mount(file)
        self.files.pop(file, None)

    def _mount(self, at: Path) -> Path:
        mount = self._mounted(at)
        if mount in self.hanging:
            raise StoreError(f"the disk of {at} did not answer within 0 s: does it hang?")
        return mount

    def _mounted(self, at: Path) -> Path:
        return next(one for one in (at, *at.parents) if one in self.mounts)
