"""All documents, wherever they lie: in the folder of this machine, or, of those that were dropped there, in the bucket.

What is written goes to the folder first, always: fetching does not depend on the bucket. What the folder has is read
there, and the bucket is not asked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from spotlightd.clients.documents.cache import DocumentCache, NoRoomError
from spotlightd.clients.documents.folder import FolderDocuments
from spotlightd.clients.documents.leases import Lease
from spotlightd.errors import StoreError
from spotlightd.ports.storage import Stored


class TieredDocuments:
    """The port `Documents`. Folder and cache are opened and closed by whoever made them."""

    def __init__(self, folder: FolderDocuments, cache: DocumentCache) -> None:
        self.folder = folder
        self.cache = cache

    async def ping(self) -> None:
        """Of the folder; the bucket has a flow of its own."""
        await self.folder.ping()

    async def put(self, chunks: AsyncIterator[bytes]) -> Stored:
        """Keep the bytes in the folder; see the port."""
        return await self.folder.put(chunks)

    @asynccontextmanager
    async def file(self, digest: str) -> AsyncIterator[Path]:
        """The document's file; see the port. What is dropped comes back into the cache for as long."""
        with await self._held(digest) as path:
            yield path

    async def read(self, digest: str) -> AsyncGenerator[bytes]:
        """The document's bytes; see the port. Where the cache has no room they are passed on as they come."""
        async with aclosing(await self._opened(digest)) as whole:
            async for piece in whole:
                yield piece

    async def _opened(self, digest: str) -> AsyncGenerator[bytes]:
        try:
            return self.folder.read_held(await self._held(digest), digest)
        except NoRoomError:
            return self.cache.passed_on(digest)

    async def _held(self, digest: str) -> Lease:
        held = await self.folder.held(digest) or await self.cache.held(digest)
        if held is None:
            raise StoreError(f"there is no document {digest} in {self.folder.root}, nor in the bucket")
        return held
