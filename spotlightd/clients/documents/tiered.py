"""All documents: those in the folder of this machine, and those that are only in the bucket.

New documents always go to the folder, so that fetching does not depend on the bucket. A document that is in the folder
is read there, without a request to the bucket.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from spotlightd.clients.documents.cache import DocumentCache, NoRoomError
from spotlightd.clients.documents.folder import FolderDocuments
from spotlightd.clients.documents.leases import Lease
from spotlightd.errors import StoreError
from spotlightd.ports.storage import StoredFile


class TieredDocuments:
    """The port `Documents`. The caller opens and closes folder and cache."""

    def __init__(self, folder: FolderDocuments, cache: DocumentCache) -> None:
        self.folder = folder
        self.cache = cache

    async def ping(self) -> None:
        """Check the folder only: another flow checks the bucket."""
        await self.folder.ping()

    async def put(self, chunks: AsyncIterator[bytes]) -> StoredFile:
        """Store the bytes in the folder; see the port."""
        return await self.folder.put(chunks)

    @asynccontextmanager
    async def file(self, digest: str) -> AsyncIterator[Path]:
        """The document's file; see the port. A dropped document is fetched into the cache, and stays while it is used."""
        with await self._lease(digest) as path:
            yield path

    async def read(self, digest: str, *, first: int = 0, length: int | None = None) -> AsyncGenerator[bytes]:
        """The document's bytes; see the port. When the cache has no room, they are streamed from the bucket."""
        async with aclosing(await self._open(digest, first, length)) as pieces:
            async for piece in pieces:
                yield piece

    async def _open(self, digest: str, first: int, length: int | None) -> AsyncGenerator[bytes]:
        try:
            return self.folder.read_leased(await self._lease(digest), digest, first=first, length=length)
        except NoRoomError:
            return self.cache.stream_from_bucket(digest, first=first, length=length)

    async def _lease(self, digest: str) -> Lease:
        lease = await self.folder.lease(digest) or await self.cache.lease(digest)
        if lease is None:
            raise StoreError(f"there is no document {digest} in {self.folder.root}, nor in the bucket")
        return lease
