"""The bucket in a folder: an object is a file at `root/<key>`, never changed.

An object appears whole or not at all: bytes go to `root/_incoming`, are hashed on the way and flushed, and only then is
the finished file linked to its name, which cannot replace one that is there. All folders up to the root are flushed
last, each time: an earlier attempt may have died between making a name and making it durable.

`_incoming` is swept of what a crash left there: nobody holds the lock on those files any more.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import ParamSpec, Self, TypeVar

from spotlightd.clients.atomic import PIECE_BYTES, Incoming, blaming, flush, piece, swept
from spotlightd.clients.bucket.probe import probe
from spotlightd.clients.bucket.threads import Threads
from spotlightd.clients.disk import has_room
from spotlightd.errors import SettingsError, StoreError
from spotlightd.model.bucket import PROBES, beginning, checked, digest_of, is_key, quoted, united
from spotlightd.ports.storage import Object

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 2
CALL_SECONDS = 15.0
PAGE = 1000
INCOMING = "_incoming"


class FolderBucket:
    """A bucket in a folder of this machine, which only we write to. Nothing is kept that would make its disk fuller than
    `most_percent`: it may be the disk that the archive is to free.
    """

    def __init__(self, root: Path, *, most_percent: float = 100.0) -> None:
        if set(str(root)) & set("{}*?"):
            raise SettingsError(f"bucket folder {root}: its name must be without {{, }}, * and ?, which mean patterns")
        self._root = root.absolute()
        self._where = f"bucket folder {root}"
        self._most_percent = most_percent
        self._threads = Threads(self._where, THREADS, CALL_SECONDS)
        self._calls = _Calls(self._root)

    async def __aenter__(self) -> Self:
        """A folder that refuses is told by `ping`: what is to be archived can wait."""
        with suppress(StoreError):
            await self.sweep()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._threads.close()

    async def ping(self) -> None:
        """Try everything with a probe; see the port."""
        await self._run(_prepare, self._root)
        await probe(self._threads, self._calls, self._where)

    async def put(self, key: str, body: Path | bytes, digest: str) -> Object:
        """Keep the bytes; see the port. Memory: one piece of 1 MiB."""
        target, wanted = self._root / checked(key), digest_of(digest)
        await self._run(_prepare, self._root)
        await self._run(_room, self._root, body, self._most_percent)
        coming = Incoming(self._root / INCOMING)
        try:
            await self._run(coming.open)
            offset = 0
            while found := await self._run(_piece, body, offset):
                await self._run(coming.write, found)
                offset += len(found)

            def link(finished: Path, seen: str, size: int) -> bool:
                if seen != wanted:
                    raise StoreError(
                        f"{key} was to have the SHA-256 {wanted}, but its bytes have {seen}: it is not kept"
                    )
                return _link(self._root, finished, target, size)

            new = await self._run(coming.keep, link)
        finally:
            await asyncio.shield(self._run(coming.discard))
        if not new and await self._digest(key, offset) != wanted:
            raise StoreError(
                f"{self._where} holds other bytes under {key}: nothing is replaced; see where they come from"
            )
        return Object(key, offset, wanted)

    async def read(self, key: str, *, first: int = 0, length: int | None = None) -> AsyncGenerator[bytes]:
        """The object's bytes; see the port."""
        path = self._root / checked(key)
        size = await self._run(_size, path)
        if size is None:
            raise StoreError(f"there is no object {key} in {self._where}")
        end = size if length is None else first + length
        if not 0 <= first <= end <= size:
            raise StoreError(f"{key} in {self._where} has {size} bytes, and not those from {first} to {end}")
        while first < end:
            found = await self._run(piece, path, first, min(PIECE_BYTES, end - first))
            if not found:
                raise StoreError(f"{key} in {self._where} became shorter while it was read: check its disk")
            first += len(found)
            yield found

    async def head(self, key: str) -> Object | None:
        """What there is; see the port. The digest is made anew from the bytes."""
        await self._run(_mounted, self._root)
        size = await self._run(_size, self._root / checked(key))
        return None if size is None else Object(key, size, await self._digest(key, size))

    async def list(self, prefix: str) -> AsyncGenerator[Object]:
        """All objects whose keys begin so; see the port."""
        await self._run(_mounted, self._root)
        walk = _walk(self._root, "", beginning(prefix))
        while page := await self._run(lambda: list(islice(walk, PAGE))):
            for one in page:
                yield one

    async def sweep(self) -> int:
        """Remove what processes that are gone left half-written; see the port."""
        await self._run(_prepare, self._root)
        return await self._run(swept, self._root / INCOMING)

    def table(self, keys: Sequence[str], structure: str) -> str:
        """Table functions of the engine; see the port. Each file by itself: of several in one pattern the engine reads
        those that it finds, and of one that was gone, or that it might not open, it said nothing.
        """
        columns = quoted(structure)
        each = [f"file({quoted(f'{self._root}/{checked(key)}')}, 'Parquet', {columns})" for key in keys]
        return united(each, "engine_file_skip_empty_files = 0")

    async def _digest(self, key: str, size: int) -> str:
        path, seen = self._root / key, hashlib.sha256()
        for offset in range(0, size, PIECE_BYTES):
            seen.update(await self._run(piece, path, offset))
        return seen.hexdigest()

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def blamed() -> T:
            with blaming("bucket folder", self._root, "the export"):
                return work(*args, **kwargs)

        return await self._threads.run(blamed)


class _Calls:
    """What a probe asks of the folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def create(self, key: str, body: bytes, digest: str) -> bool:
        del digest
        coming = Incoming(self._root / INCOMING)
        with blaming("bucket folder", self._root, "the probe"):
            try:
                coming.open()
                coming.write(body)
                return coming.keep(lambda finished, _, size: _link(self._root, finished, self._root / key, size))
            finally:
                coming.discard()

    def get(self, key: str, first: int, length: int) -> bytes:
        with blaming("bucket folder", self._root, "the probe"):
            return piece(self._root / key, first, length)

    def page(self, prefix: str, after: str) -> Sequence[Object]:
        del after
        with blaming("bucket folder", self._root, "the probe"):
            return [Object(prefix + one.name, one.stat().st_size) for one in (self._root / PROBES).iterdir()]

    def remove(self, key: str) -> None:
        with blaming("bucket folder", self._root, "the probe"):
            (self._root / key).unlink()


def _room(root: Path, body: Path | bytes, most_percent: float) -> None:
    has_room(root, most_percent, len(body) if isinstance(body, bytes) else body.stat().st_size)


def _prepare(root: Path) -> None:
    incoming = root / INCOMING
    if not incoming.is_dir():
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        incoming.mkdir(mode=0o700, exist_ok=True)
        flush(root.parent)
        flush(root)


def _piece(body: Path | bytes, offset: int) -> bytes:
    return body[offset : offset + PIECE_BYTES] if isinstance(body, bytes) else piece(body, offset)


def _mounted(root: Path) -> None:
    """A folder that is not there may be a disk that is not: of that nothing is known, least of all that it is empty."""
    if not root.is_dir():
        raise StoreError(f"bucket folder {root} is not there: see that its disk is mounted")


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _link(root: Path, finished: Path, target: Path, size: int) -> bool:
    """Give a finished file its name; false if there is one already. Durable, folders and all, in both cases."""
    folders = [one for one in target.parents if one.is_relative_to(root)]
    for folder in reversed(folders):
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    try:
        os.link(finished, target)
        new = True
    except FileExistsError:
        new = False
    for folder in folders:
        flush(folder)
    if not new and target.stat().st_size != size:
        raise StoreError(
            f"bucket folder {root} holds another object as {target.relative_to(root)}: nothing is replaced"
        )
    return new


def _walk(root: Path, under: str, prefix: str) -> Iterator[Object]:
    """The files below a folder whose keys begin so, in the order of whole keys: a folder sorts as its name and `/`."""
    try:
        with os.scandir(root / under) as entries:
            found = sorted((one.name + ("/" if one.is_dir() else ""), one) for one in entries)
    except FileNotFoundError:
        return
    for name, entry in found:
        key = under + name
        if not is_key(key.rstrip("/")) or not (key.startswith(prefix) or prefix.startswith(key)):
            continue
        if name.endswith("/"):
            yield from _walk(root, key, prefix)
        elif key.startswith(prefix):
            yield Object(key, entry.stat().st_size)
