"""The bucket in any S3 store: the port `Bucket` on the `minio` library, in a few threads of our own.

Every call is one request with a deadline (see `threads`), so that a dead store is noticed within 15 seconds and costs
no more than `threads` threads. An object carries our own SHA-256 in its metadata, because the ETag of an object that was
sent in parts is not the digest of its bytes. Each object is checked after it was sent: a store may answer 200 to half of
it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from spotlightd.clients.atomic import PIECE_BYTES, read_piece, translate_os_errors
from spotlightd.clients.bucket.probe import run_probe
from spotlightd.clients.bucket.s3_requests import BACKOFF_SECONDS, S3Requests
from spotlightd.clients.bucket.threads import Threads
from spotlightd.errors import StoreError
from spotlightd.model.bucket import (
    COLLECTION,
    BucketAccess,
    check_digest,
    check_key,
    check_prefix,
    is_key,
    key_pattern,
    quote,
    union_tables,
)
from spotlightd.ports.storage import Object
from spotlightd.settings.stores import BucketSettings

PART_BYTES = 5 << 20  # S3's minimum for a part
MOST_PARTS = 10_000
MOST_PAGES = 20
RANGE_BYTES = 4 << 20
DANGLING_SECONDS = 86_400.0


class S3Bucket:
    """A bucket of an S3 store. Opening it sends no request: the archive can wait for the store."""

    def __init__(
        self, settings: BucketSettings, access: BucketAccess, *, dangling_seconds: float = DANGLING_SECONDS
    ) -> None:
        self._settings = settings
        self._name = f"bucket {settings.name} at {urlsplit(settings.url).netloc}"
        self._dangling = timedelta(seconds=dangling_seconds)
        seconds = settings.connect_seconds + settings.read_seconds + 2 * BACKOFF_SECONDS
        self._threads = Threads(self._name, settings.threads, (settings.retries + 1) * seconds)
        self._requests = S3Requests(settings, access, self._name)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._threads.close()
        self._requests.close()

    async def ping(self) -> None:
        """Try all requests with a probe object; see the port."""
        await run_probe(self._threads, self._requests, self._name)

    async def put(self, key: str, body: Path | bytes, digest: str) -> Object:
        """Store the bytes; see the port. Memory: one part."""
        check_key(key)
        size = await self._threads.run(_size_of, body)
        wanted = Object(key, size, check_digest(digest))
        stored = await self.head(key)
        if stored is None:
            await self._send(wanted, body)
            stored = await self.head(key)
        if stored is None:
            raise StoreError(f"{self._name} acknowledged {key} and does not have it: look at its log")
        if stored.size != size or (stored.digest or await self._compute_digest(stored)) != digest:
            raise StoreError(
                f"{self._name} holds another object as {key} ({stored.size} bytes, ours has {size}): nothing is replaced;"
                " find out where it comes from, or delete it there by hand"
            )
        return wanted

    async def read(self, key: str, *, first: int = 0, length: int | None = None) -> AsyncGenerator[bytes]:
        """The object's bytes; see the port. StoreError at the end of a whole object that does not have its SHA-256."""
        stored = await self.head(key)
        if stored is None:
            raise StoreError(f"there is no object {key} in {self._name}")
        end = stored.size if length is None else first + length
        if not 0 <= first <= end <= stored.size:
            raise StoreError(f"{key} in {self._name} has {stored.size} bytes: there are no bytes {first} to {end}")
        digest = hashlib.sha256() if stored.digest and (first, end) == (0, stored.size) else None
        for start in range(first, end, RANGE_BYTES):
            piece = await self._threads.run(self._requests.get, key, start, min(RANGE_BYTES, end - start))
            if digest is not None:
                digest.update(piece)
            for offset in range(0, len(piece), PIECE_BYTES):
                yield piece[offset : offset + PIECE_BYTES]
        if digest is not None and digest.hexdigest() != stored.digest:
            raise StoreError(f"{key} in {self._name} is damaged: its bytes no longer have its SHA-256")

    async def head(self, key: str) -> Object | None:
        """The object's size and digest; see the port. The digest is the one that was given to `put`."""
        return await self._threads.run(self._requests.head, check_key(key))

    async def list(self, prefix: str) -> AsyncGenerator[Object]:
        """All objects with that prefix; see the port. All are in memory to be sorted: SeaweedFS lists in another order."""
        objects, after = list[Object](), ""
        check_prefix(prefix)
        while page := await self._threads.run(self._requests.list_page, prefix, after):
            if page[-1].key == after:
                raise StoreError(f"{self._name} lists the same names again and again: it ignores `start-after`")
            objects += [item for item in page if is_key(item.key)]
            after = page[-1].key
        for item in sorted(objects, key=lambda item: item.key):
            yield item

    async def sweep(self) -> int:
        """Delete unfinished uploads that started long ago; see the port."""
        before, ended, last = datetime.now(UTC) - self._dangling, 0, None
        for _ in range(MOST_PAGES):  # a store that ignores the marker returns the same page for ever
            page, more = await self._threads.run(self._requests.list_uploads, last)
            for upload in page:
                is_due = upload.started_at is not None and upload.started_at <= before
                if is_due and self._requests.has_prefix(upload.name):
                    await self._threads.run(self._requests.abort_upload, upload.name, upload.id)
                    ended += 1
            if not more:
                break
            last = page[-1]
        return ended

    def table(self, keys: Sequence[str], structure: str) -> str:
        """A table function of the engine; see the port. Address and access keys are in its named collection.

        One function reads all objects: one function for each costs several times as much. An object that is missing,
        or that may not be read, is an error either way; an empty object is one only because of `s3_skip_empty_files`.
        """
        settings = self._settings
        shape = f"format = 'Parquet', structure = {quote(structure)}"
        engine_settings = (
            "s3_skip_empty_files = 0", f"s3_retry_attempts = {settings.retries}", f"s3_connect_timeout_ms = {round(1000 * settings.connect_seconds)}",
            f"s3_request_timeout_ms = {round(1000 * settings.read_seconds)}",
        )  # fmt: skip
        tables = [f"s3({COLLECTION}, filename = {quote(key_pattern(keys))}, {shape})"] if keys else []
        return union_tables(tables, *engine_settings)

    async def _send(self, wanted: Object, body: Path | bytes) -> None:
        """Send the bytes, in one piece or in parts. Nothing is stored unless they have the digest."""
        if wanted.size > PART_BYTES:
            await self._send_parts(wanted, body)
            return
        content = await self._threads.run(_read, body, 0, PART_BYTES)
        _check_digest(wanted, len(content), hashlib.sha256(content).hexdigest())
        await self._threads.run(self._requests.create, wanted.key, content, wanted.digest)

    async def _send_parts(self, wanted: Object, body: Path | bytes) -> None:
        key, digest, tags, offset = wanted.key, hashlib.sha256(), list[str](), 0
        part_size = max(PART_BYTES, -(-wanted.size // MOST_PARTS))
        starting = asyncio.create_task(
            self._threads.run(self._requests.begin_upload, key, wanted.digest), name=f"begin {key}"
        )
        is_complete = False
        try:
            upload = await asyncio.shield(starting)  # not cancelled: the id is needed to delete the upload
            while part := await self._threads.run(_read, body, offset, part_size):
                await self._threads.run(digest.update, part)
                tags.append(await self._threads.run(self._requests.send_part, key, upload, len(tags) + 1, part))
                offset += len(part)
            _check_digest(wanted, offset, digest.hexdigest())
            is_complete = await self._threads.run(self._requests.complete_upload, key, upload, tags)
        finally:
            if not is_complete:
                await asyncio.shield(self._abort(key, starting))

    async def _abort(self, key: str, starting: asyncio.Task[str]) -> None:
        """Delete the upload. When that fails, `sweep` does it a day later."""
        with suppress(StoreError):
            await self._threads.run(self._requests.abort_upload, self._requests.full_name(key), await starting)

    async def _compute_digest(self, stored: Object) -> str:
        """The digest of the bytes, for objects written by other programs: those carry no digest."""
        digest = hashlib.sha256()
        async for piece in self.read(stored.key):
            digest.update(piece)
        return digest.hexdigest()


def _size_of(body: Path | bytes) -> int:
    if isinstance(body, bytes):
        return len(body)
    with translate_os_errors("file", body, "the export"):
        return body.stat().st_size


def _read(body: Path | bytes, offset: int, most: int) -> bytes:
    if isinstance(body, bytes):
        return body[offset : offset + most]
    with translate_os_errors("file", body, "the export"):
        return read_piece(body, offset, most)


def _check_digest(wanted: Object, size: int, digest: str) -> None:
    if (size, digest) != (wanted.size, wanted.digest):
        raise StoreError(
            f"{wanted.key} should have the SHA-256 {wanted.digest}, but its bytes have {digest}: it is not stored"
        )
