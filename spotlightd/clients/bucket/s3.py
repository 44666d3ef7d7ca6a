"""The bucket in any S3 store: the port `Bucket` on the `minio` library, in a few threads of our own.

Every call is one request with a deadline (see `threads`), so that a dead store is noticed within 15 seconds and costs
no more than `threads` threads. An object carries our own SHA-256 in its metadata: the ETag of one that was sent in
parts is no digest of its bytes. What was sent is looked at again, because a store may answer 200 to half an object.
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

from spotlightd.clients.atomic import PIECE_BYTES, blaming, piece
from spotlightd.clients.bucket.probe import probe
from spotlightd.clients.bucket.s3_calls import BACKOFF_SECONDS, S3Requests
from spotlightd.clients.bucket.threads import Threads
from spotlightd.errors import StoreError
from spotlightd.model.bucket import COLLECTION, Access, beginning, checked, digest_of, is_key, listed, quoted, united
from spotlightd.ports.storage import Object
from spotlightd.settings.stores import BucketSettings

PART_BYTES = 5 << 20  # the least that S3 takes as a part
MOST_PARTS = 10_000
MOST_PAGES = 20
RANGE_BYTES = 4 << 20
DANGLING_SECONDS = 86_400.0


class S3Bucket:
    """A bucket of an S3 store. Opening it asks nothing of the store: what is to be archived can wait."""

    def __init__(self, settings: BucketSettings, access: Access, *, dangling_seconds: float = DANGLING_SECONDS) -> None:
        self._settings = settings
        self._where = f"bucket {settings.name} at {urlsplit(settings.url).netloc}"
        self._dangling = timedelta(seconds=dangling_seconds)
        tries, each = settings.retries + 1, settings.connect_seconds + settings.read_seconds
        self._threads = Threads(self._where, settings.threads, tries * (each + 2 * BACKOFF_SECONDS))
        self._calls = S3Requests(settings, access, self._where)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._threads.close()
        self._calls.close()

    async def ping(self) -> None:
        """Try everything with a probe; see the port."""
        await probe(self._threads, self._calls, self._where)

    async def put(self, key: str, body: Path | bytes, digest: str) -> Object:
        """Keep the bytes; see the port. Memory: one part."""
        checked(key)
        size = await self._threads.run(_size, body)
        wanted = Object(key, size, digest_of(digest))
        there = await self.head(key)
        if there is None:
            await self._send(wanted, body)
            there = await self.head(key)
        if there is None:
            raise StoreError(f"{self._where} says that it keeps {key}, and has it not: look at its log")
        if there.size != size or (there.digest or await self._digest(there)) != digest:
            raise StoreError(
                f"{self._where} holds another object as {key} ({there.size} bytes, ours has {size}): nothing is replaced;"
                " see where it comes from, or delete it there by hand"
            )
        return wanted

    async def read(self, key: str, *, first: int = 0, length: int | None = None) -> AsyncGenerator[bytes]:
        """The object's bytes; see the port. StoreError at the end of a whole one that has not its SHA-256."""
        found = await self.head(key)
        if found is None:
            raise StoreError(f"there is no object {key} in {self._where}")
        end = found.size if length is None else first + length
        if not 0 <= first <= end <= found.size:
            raise StoreError(f"{key} in {self._where} has {found.size} bytes, and not those from {first} to {end}")
        seen = hashlib.sha256() if found.digest and (first, end) == (0, found.size) else None
        for start in range(first, end, RANGE_BYTES):
            some = await self._threads.run(self._calls.get, key, start, min(RANGE_BYTES, end - start))
            if seen is not None:
                seen.update(some)
            for offset in range(0, len(some), PIECE_BYTES):
                yield some[offset : offset + PIECE_BYTES]
        if seen is not None and seen.hexdigest() != found.digest:
            raise StoreError(f"{key} in {self._where} is damaged: its bytes no longer have its SHA-256")

    async def head(self, key: str) -> Object | None:
        """What there is; see the port. The digest is the one that was given when it was put."""
        return await self._threads.run(self._calls.head, checked(key))

    async def list(self, prefix: str) -> AsyncGenerator[Object]:
        """All objects whose keys begin so; see the port. They are held at once and sorted: SeaweedFS has another order."""
        found, after = list[Object](), ""
        beginning(prefix)
        while page := await self._threads.run(self._calls.page, prefix, after):
            if page[-1].key == after:
                raise StoreError(f"{self._where} lists the same names again and again: it does not know `start-after`")
            found += [one for one in page if is_key(one.key)]
            after = page[-1].key
        for one in sorted(found, key=lambda each: each.key):
            yield one

    async def sweep(self) -> int:
        """End uploads that were begun long ago and never finished; see the port."""
        before, ended, last = datetime.now(UTC) - self._dangling, 0, None
        for _ in range(MOST_PAGES):  # a store that looks at no marker tells the same for ever
            page, more = await self._threads.run(self._calls.uploads, last)
            for one in page:
                if self._calls.is_ours(one.name) and one.begun_at is not None and one.begun_at <= before:
                    await self._threads.run(self._calls.abort, one.name, one.id)
                    ended += 1
            if not more:
                break
            last = page[-1]
        return ended

    def table(self, keys: Sequence[str], structure: str) -> str:
        """A table function of the engine; see the port. Address and keys are in its named collection.

        All objects in one: many of them cost several times as much each by itself. One that is gone, or may not be
        read, is an error either way; an empty one is so only because we ask for it.
        """
        told = self._settings
        shape = f"format = 'Parquet', structure = {quoted(structure)}"
        asked = (
            "s3_skip_empty_files = 0", f"s3_retry_attempts = {told.retries}", f"s3_connect_timeout_ms = {round(1000 * told.connect_seconds)}",
            f"s3_request_timeout_ms = {round(1000 * told.read_seconds)}",
        )  # fmt: skip
        each = [f"s3({COLLECTION}, filename = {quoted(listed(keys))}, {shape})"] if keys else []
        return united(each, *asked)

    async def _send(self, wanted: Object, body: Path | bytes) -> None:
        """Send the bytes, in one piece or in parts; nothing is kept unless they have the digest."""
        if wanted.size > PART_BYTES:
            await self._send_parts(wanted, body)
            return
        whole = await self._threads.run(_piece, body, 0, PART_BYTES)
        _same(wanted, len(whole), hashlib.sha256(whole).hexdigest())
        await self._threads.run(self._calls.create, wanted.key, whole, wanted.digest)

    async def _send_parts(self, wanted: Object, body: Path | bytes) -> None:
        key, seen, tags, offset = wanted.key, hashlib.sha256(), list[str](), 0
        part = max(PART_BYTES, -(-wanted.size // MOST_PARTS))
        begun = asyncio.create_task(self._threads.run(self._calls.begin, key, wanted.digest), name=f"begin {key}")
        made = False
        try:
            upload = await asyncio.shield(begun)  # who gives up before the store has answered must know what to end
            while some := await self._threads.run(_piece, body, offset, part):
                await self._threads.run(seen.update, some)
                tags.append(await self._threads.run(self._calls.part, key, upload, len(tags) + 1, some))
                offset += len(some)
            _same(wanted, offset, seen.hexdigest())
            made = await self._threads.run(self._calls.complete, key, upload, tags)
        finally:
            if not made:
                await asyncio.shield(self._abort(key, begun))

    async def _abort(self, key: str, begun: asyncio.Task[str]) -> None:
        """What cannot be ended now is swept a day later."""
        with suppress(StoreError):
            await self._threads.run(self._calls.abort, self._calls.named(key), await begun)

    async def _digest(self, found: Object) -> str:
        """Of an object that somebody else put, who told none."""
        seen = hashlib.sha256()
        async for some in self.read(found.key):
            seen.update(some)
        return seen.hexdigest()


def _size(body: Path | bytes) -> int:
    if isinstance(body, bytes):
        return len(body)
    with blaming("file", body, "the export"):
        return body.stat().st_size


def _piece(body: Path | bytes, offset: int, most: int) -> bytes:
    if isinstance(body, bytes):
        return body[offset : offset + most]
    with blaming("file", body, "the export"):
        return piece(body, offset, most)


def _same(wanted: Object, size: int, digest: str) -> None:
    if (size, digest) != (wanted.size, wanted.digest):
        raise StoreError(
            f"{wanted.key} was to have the SHA-256 {wanted.digest}, but its bytes have {digest}: it is not kept"
        )
