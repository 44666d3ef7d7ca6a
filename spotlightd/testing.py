"""In-memory twins of the ports, for our tests and those of source authors. Each passes the contract tests of its port."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from spotlightd.clients.atomic import PIECE_BYTES
from spotlightd.clients.documents.folder import document_path
from spotlightd.clients.http import address, body
from spotlightd.errors import Failure, PublisherError, StoreError
from spotlightd.files import write_file
from spotlightd.metrics.table import REPORTED, Metric, find_metric, index
from spotlightd.model.disk import DiskUsage
from spotlightd.model.source import Batch
from spotlightd.ports.publisher import PublisherResponse
from spotlightd.ports.storage import StoredFile


@dataclass(frozen=True, slots=True)
class Reply:
    """The content of one address. `breaks` is raised after the content, or at once when there is none."""

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
    """Publishers whose content is `replies`, by address. `requests` lists the address of every request, `posts` the bodies of
    those by POST.
    """

    replies: dict[str, Reply] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    posts: dict[str, str] = field(default_factory=dict)

    def for_source(self, source: Batch) -> MemoryPublisher:
        return MemoryPublisher(self, source)


@dataclass(frozen=True, slots=True)
class MemoryPublisher:
    """The twin of a source's publisher. It refuses the same hosts, first bytes and sizes, with the same messages."""

    publishers: MemoryPublishers
    source: Batch

    async def page(self, url: str, *, post: str | None = None) -> str:
        reply = self._reply(url, post)
        async with aclosing(_check_reply(reply, url, b"", 4_000_000)) as chunks:
            whole = b"".join([chunk async for chunk in chunks])
        return body.decode_page(whole, "utf-8", url)

    @asynccontextmanager
    async def fetch(
        self, url: str, *, etag: str = "", last_modified: str = "", post: str | None = None, is_probe: bool = False
    ) -> AsyncIterator[PublisherResponse | None]:
        reply = self._reply(url, post)
        if etag == reply.etag or (last_modified and last_modified == reply.last_modified):
            yield None
            return
        page_outcome: Failure = "absent" if is_probe and self.source.page_is_absent else "wrong body"
        start, most = self.source.begins_with, self.source.max_bytes
        async with aclosing(_check_reply(reply, url, start, most, page_outcome)) as chunks:
            yield PublisherResponse(url, reply.via, reply.etag, reply.last_modified, reply.media_type, chunks)

    def _reply(self, url: str, post: str | None) -> Reply:
        host = address.check_address(url, self.source.hosts).host
        self.publishers.requests.append(url)
        if post is not None:
            self.publishers.posts[url] = post
        reply = self.publishers.replies.get(url)
        if reply is None:
            raise PublisherError(f"{host} has no {url} (404 Not Found)", outcome="absent", status=404)
        if reply.breaks and not reply.content:
            raise reply.breaks
        return reply


async def _check_reply(
    reply: Reply, url: str, begins_with: bytes | tuple[bytes, ...], most: int, page_outcome: Failure = "wrong body"
) -> AsyncGenerator[bytes]:
    async with aclosing(_read_content(reply)) as chunks:
        checked = body.check_body(chunks, url, begins_with=begins_with, most=most, page_outcome=page_outcome)
        async for chunk in checked:
            yield chunk


async def _read_content(reply: Reply) -> AsyncGenerator[bytes]:
    for start in range(0, len(reply.content), 1000):
        yield reply.content[start : start + 1000]
    if reply.breaks:
        raise reply.breaks


class MemoryDocuments:
    """Documents in memory; `file` writes one into `folder`. With `refuses` set, every write and `ping` raises it."""

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

    async def read(self, digest: str, *, first: int = 0, length: int | None = None) -> AsyncGenerator[bytes]:
        whole = self._file(digest).read_bytes()
        end = len(whole) if length is None else first + length
        if not 0 <= first <= end <= len(whole):
            raise StoreError(f"document {digest} has {len(whole)} bytes: there are no bytes {first} to {end}")
        for start in range(first, end, PIECE_BYTES):
            yield whole[start : min(start + PIECE_BYTES, end)]

    def _file(self, digest: str) -> Path:
        target = self._folder / digest
        if digest not in self.objects:
            raise StoreError(f"there is no document {document_path(self._folder, digest).name} in {self._folder}")
        if not target.exists():
            write_file(target, self.objects[digest], 0o444)
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
    """File systems that are as full as the test needs: by mount, the size and the bytes used by others. Those in
    `hanging` do not answer.
    """

    mounts: dict[Path, tuple[int, int]]
    files: dict[Path, int] = field(default_factory=dict)
    hanging: set[Path] = field(default_factory=set)

    async def measure(self, folder: Path) -> DiskUsage:
        mount = self._require_mount(folder)
        size, used = self.mounts[mount]
        own = sum(allocated for file, allocated in self.files.items() if self._find_mount(file) == mount)
        return DiskUsage(str(mount), size, used + own)

    async def allocated_bytes(self, file: Path) -> int:
        self._require_mount(file)
        return self.files.get(file, 0)

    async def reserve(self, file: Path, size: int) -> None:
        usage = await self.measure(file)
        if size > usage.free + self.files.get(file, 0):
            raise StoreError(f"{file}: No space left on device")
        self.files[file] = size

    async def remove(self, file: Path) -> None:
        self._require_mount(file)
        self.files.pop(file, None)

    def _require_mount(self, path: Path) -> Path:
        mount = self._find_mount(path)
        if mount in self.hanging:
            raise StoreError(f"the disk of {path} did not answer within 0 s: does it hang?")
        return mount

    def _find_mount(self, path: Path) -> Path:
        return next(folder for folder in (path, *path.parents) if folder in self.mounts)
