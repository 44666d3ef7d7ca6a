"""Shared by the tests of documents in folder and bucket: small stores, and ways to damage them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spotlightd.clients.bucket.folder import FolderBucket
from spotlightd.clients.documents.cache import DocumentCache
from spotlightd.clients.documents.folder import FolderDocuments
from spotlightd.clients.documents.tiered import TieredDocuments
from spotlightd.errors import StoreError
from spotlightd.model.bucket import document_key
from spotlightd.ports.storage import Bucket, Object, StoredFile
from tests.clients.bucket_world import open_bucket
from tests.real.store import Store


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def content(number: int, size: int = 1000) -> bytes:
    """Constructed bytes, different for each number."""
    return (f"document {number} ".encode() * size)[:size]


def digest(whole: bytes) -> str:
    return hashlib.sha256(whole).hexdigest()


@asynccontextmanager
async def bucket_for(folder: Path, store: Store | None = None) -> AsyncIterator[Bucket]:
    if store is None:
        async with FolderBucket(folder / "bucket") as bucket:
            yield bucket
        return
    async with open_bucket(store) as other:
        yield other


@asynccontextmanager
async def tiered(
    folder: Path, bucket: Bucket, *, most_bytes: int = 1 << 30, most_percent: float = 100.0
) -> AsyncIterator[TieredDocuments]:
    cache = DocumentCache(folder / "cache", bucket, most_bytes=most_bytes, most_percent=most_percent)
    async with FolderDocuments(folder / "documents") as documents, cache:
        yield TieredDocuments(documents, cache)


async def put_in_bucket(documents: TieredDocuments, bucket: Bucket, whole: bytes) -> str:
    """Store a document in the bucket only."""
    name = (await documents.put(chunks(whole))).digest
    await move_to_bucket(documents, bucket, name)
    return name


async def move_to_bucket(documents: TieredDocuments, bucket: Bucket, name: str) -> None:
    async with documents.folder.file(name) as path:
        await bucket.put(document_key(name), path, name)
    assert await documents.folder.drop(name)


async def read(documents: Any, name: str) -> bytes:
    return b"".join([piece async for piece in documents.read(name)])


def cached(folder: Path) -> dict[str, int]:
    """The finished files of the cache and their sizes."""
    root = folder / "cache"
    return {path.name: path.stat().st_size for path in root.iterdir() if path.is_file() and path.name != "lock"}


def incoming(folder: Path) -> list[Path]:
    return list((folder / "cache" / "incoming").iterdir())


class DroppedDocuments:
    """Documents that are moved to the bucket right before they are read."""

    def __init__(self, documents: TieredDocuments, bucket: Bucket) -> None:
        self._documents, self._bucket = documents, bucket

    async def ping(self) -> None:
        await self._documents.ping()

    async def put(self, parts: AsyncIterator[bytes]) -> StoredFile:
        return await self._documents.put(parts)

    @asynccontextmanager
    async def file(self, name: str) -> AsyncIterator[Path]:
        await self._leave(name)
        async with self._documents.file(name) as path:
            yield path

    async def read(self, name: str, *, first: int = 0, length: int | None = None) -> AsyncGenerator[bytes]:
        await self._leave(name)
        async for piece in self._documents.read(name, first=first, length=length):
            yield piece

    async def _leave(self, name: str) -> None:
        lease = await self._documents.folder.lease(name)
        if lease is not None:
            with lease:
                pass
            await move_to_bucket(self._documents, self._bucket, name)


@dataclass
class WatchedBucket:
    """A bucket that records reads and can be unreachable; `before_piece` is awaited before every piece."""

    bucket: Bucket
    reads: list[str] = field(default_factory=list)
    is_away: bool = False
    before_piece: Any = None

    def _check_reachable(self) -> None:
        if self.is_away:
            raise StoreError("bucket spotlightd at constructed cannot be reached")

    async def ping(self) -> None:
        self._check_reachable()
        await self.bucket.ping()

    async def put(self, key: str, body: Path | bytes, name: str) -> Object:
        self._check_reachable()
        return await self.bucket.put(key, body, name)

    async def read(self, key: str, *, first: int = 0, length: int | None = None) -> AsyncGenerator[bytes]:
        self._check_reachable()
        self.reads.append(key)
        async for piece in self.bucket.read(key, first=first, length=length):
            if self.before_piece:
                await self.before_piece()
            self._check_reachable()
            yield piece

    async def head(self, key: str) -> Object | None:
        self._check_reachable()
        return await self.bucket.head(key)

    async def list(self, prefix: str) -> AsyncGenerator[Object]:
        self._check_reachable()
        async for stored in self.bucket.list(prefix):
            yield stored

    async def sweep(self) -> int:
        return await self.bucket.sweep()

    def table(self, keys: Any, structure: str) -> str:
        return self.bucket.table(keys, structure)
