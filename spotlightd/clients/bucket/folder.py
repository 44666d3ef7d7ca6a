"""The bucket in a folder: an object is a file at `root/<key>`, never changed.

An object appears whole or not at all. The bytes go to a file in `root/_incoming`, are hashed on the way and flushed; then
the finished file is linked to its name, which cannot replace an existing file. All folders up to the root are flushed
last, each time: an earlier attempt may have crashed after it created a name and before that name was durable.

`_incoming` is swept of the files that a crash left there: no process holds the lock on them.
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

from spotlightd.clients.atomic import (
    PIECE_BYTES,
    AtomicFile,
    read_piece,
    remove_leftovers,
    translate_os_errors,
)
from spotlightd.clients.bucket.probe import run_probe
from spotlightd.clients.bucket.threads import Threads
from spotlightd.clients.disk import require_free_space
from spotlightd.errors import SettingsError, StoreError
from spotlightd.files import flush_folder
from spotlightd.model.bucket import PROBE_PREFIX, check_digest, check_key, check_prefix, is_key, quote, union_tables
from spotlightd.ports.storage import Object

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 2
CALL_SECONDS = 15.0
PAGE = 1000
INCOMING = "_incoming"


class FolderBucket:
    """A bucket in a folder of this machine that no other program writes to. Nothing is stored that would fill its disk
    beyond `most_percent`: it may be the disk that the archive is meant to free.
    """

    def __init__(self, root: Path, *, most_percent: float = 100.0) -> None:
        if set(str(root)) & set("{}*?"):
            raise SettingsError(
                f"bucket folder {root}: its name must not contain {{, }}, * or ?, which stand for patterns"
            )
        self._root = root.absolute()
        self._name = f"bucket folder {root}"
        self._most_percent = most_percent
        self._threads = Threads(self._name, THREADS, CALL_SECONDS)
        self._requests = _ProbeRequests(self._root)

    async def __aenter__(self) -> Self:
        """An error of the folder is left to `ping`: the archive can wait for the folder."""
        with suppress(StoreError):
            await self.sweep()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._threads.close()

    async def ping(self) -> None:
        """Try all requests with a probe object; see the port."""
        await self._run(_prepare, self._root)
        await run_probe(self._threads, self._requests, self._name)

    async def put(self, key: str, body: Path | bytes, digest: str) -> Object:
        """Store the bytes; see the port. Memory: one piece of 1 MiB."""
        target, wanted = self._root / check_key(key), check_digest(digest)
        await self._run(_prepare, self._root)
        await self._run(_require_space, self._root, body, self._most_percent)
        file = AtomicFile(self._root / INCOMING)
        try:
            await self._run(file.open)
            offset = 0
            while piece := await self._run(_read, body, offset):
                await self._run(file.write, piece)
                offset += len(piece)

            def link(finished: Path, digest: str, size: int) -> bool:
                if digest != wanted:
                    raise StoreError(
                        f"{key} should have the SHA-256 {wanted}, but its bytes have {digest}: it is not stored"
                    )
                return _link(self._root, finished, target, size)

            is_new = await self._run(file.commit, link)
        finally:
            await asyncio.shield(self._run(file.discard))
        if not is_new and await self._compute_digest(key, offset) != wanted:
            raise StoreError(
                f"{self._name} holds other bytes under {key}: nothing is replaced; find out where they come from"
            )
        return Object(key, offset, wanted)

    async def read(self, key: str, *, first: int = 0, length: int | None = None) -> AsyncGenerator[bytes]:
        """The object's bytes; see the port."""
        path = self._root / check_key(key)
        size = await self._run(_size_of, path)
        if size is None:
            raise StoreError(f"there is no object {key} in {self._name}")
        end = size if length is None else first + length
        if not 0 <= first <= end <= size:
            raise StoreError(f"{key} in {self._name} has {size} bytes: there are no bytes {first} to {end}")
        while first < end:
            piece = await self._run(read_piece, path, first, min(PIECE_BYTES, end - first))
            if not piece:
                raise StoreError(f"{key} in {self._name} became shorter while it was read: check its disk")
            first += len(piece)
            yield piece

    async def head(self, key: str) -> Object | None:
        """The object's size and digest; see the port. The digest is computed from the bytes."""
        await self._run(_require_root, self._root)
        size = await self._run(_size_of, self._root / check_key(key))
        return None if size is None else Object(key, size, await self._compute_digest(key, size))

    async def list(self, prefix: str) -> AsyncGenerator[Object]:
        """All objects with that prefix; see the port."""
        await self._run(_require_root, self._root)
        walk = _walk(self._root, "", check_prefix(prefix))
        while page := await self._run(lambda: list(islice(walk, PAGE))):
            for item in page:
                yield item

    async def remove(self, key: str) -> None:
        """Remove an object if it exists: for backups that are too old. No other object is ever removed."""
        await self._run(_remove, self._root / check_key(key))

    async def sweep(self) -> int:
        """Remove the files that ended processes left unfinished; see the port."""
        await self._run(_prepare, self._root)
        return await self._run(remove_leftovers, self._root / INCOMING)

    def table(self, keys: Sequence[str], structure: str) -> str:
        """Table functions of the engine; see the port. One function for each file: of a pattern, the engine reads the
        files that it finds, and reports none that is missing or that it may not open.
        """
        columns = quote(structure)
        tables = [f"file({quote(f'{self._root}/{check_key(key)}')}, 'Parquet', {columns})" for key in keys]
        return union_tables(tables, "engine_file_skip_empty_files = 0")

    async def _compute_digest(self, key: str, size: int) -> str:
        path, digest = self._root / key, hashlib.sha256()
        for offset in range(0, size, PIECE_BYTES):
            digest.update(await self._run(read_piece, path, offset))
        return digest.hexdigest()

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def work_translated() -> T:
            with translate_os_errors("bucket folder", self._root, "the export"):
                return work(*args, **kwargs)

        return await self._threads.run(work_translated)


class _ProbeRequests:
    """The requests of a probe, on the folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def create(self, key: str, body: bytes, digest: str) -> bool:
        del digest
        file = AtomicFile(self._root / INCOMING)
        with translate_os_errors("bucket folder", self._root, "the probe"):
            try:
                file.open()
                file.write(body)
                return file.commit(lambda finished, _, size: _link(self._root, finished, self._root / key, size))
            finally:
                file.discard()

    def get(self, key: str, first: int, length: int) -> bytes:
        with translate_os_errors("bucket folder", self._root, "the probe"):
            return read_piece(self._root / key, first, length)

    def list_page(self, prefix: str, after: str) -> Sequence[Object]:
        del after
        with translate_os_errors("bucket folder", self._root, "the probe"):
            return [Object(prefix + path.name, path.stat().st_size) for path in (self._root / PROBE_PREFIX).iterdir()]

    def remove(self, key: str) -> None:
        with translate_os_errors("bucket folder", self._root, "the probe"):
            (self._root / key).unlink()


def _require_space(root: Path, body: Path | bytes, most_percent: float) -> None:
    require_free_space(root, most_percent, len(body) if isinstance(body, bytes) else body.stat().st_size)


def _prepare(root: Path) -> None:
    incoming = root / INCOMING
    if not incoming.is_dir():
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        incoming.mkdir(mode=0o700, exist_ok=True)
        flush_folder(root.parent)
        flush_folder(root)


def _read(body: Path | bytes, offset: int) -> bytes:
    return body[offset : offset + PIECE_BYTES] if isinstance(body, bytes) else read_piece(body, offset)


def _require_root(root: Path) -> None:
    """StoreError when the folder is missing: its disk may not be mounted, so the bucket must not be taken for empty."""
    if not root.is_dir():
        raise StoreError(f"bucket folder {root} does not exist: check that its disk is mounted")


def _size_of(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _link(root: Path, finished: Path, target: Path, size: int) -> bool:
    """Give a finished file its name; False when that name exists. File and folders are durable in both cases."""
    folders = [folder for folder in target.parents if folder.is_relative_to(root)]
    for folder in reversed(folders):
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    try:
        os.link(finished, target)
        is_new = True
    except FileExistsError:
        is_new = False
    for folder in folders:
        flush_folder(folder)
    if not is_new and target.stat().st_size != size:
        raise StoreError(
            f"bucket folder {root} holds another object as {target.relative_to(root)}: nothing is replaced"
        )
    return is_new


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    if path.parent.is_dir():
        flush_folder(path.parent)


def _walk(root: Path, under: str, prefix: str) -> Iterator[Object]:
    """The files below a folder with that prefix, in the order of whole keys: a folder sorts as its name and `/`."""
    try:
        with os.scandir(root / under) as entries:
            ordered = sorted((entry.name + ("/" if entry.is_dir() else ""), entry) for entry in entries)
    except FileNotFoundError:
        return
    for name, entry in ordered:
        key = under + name
        if not is_key(key.rstrip("/")) or not (key.startswith(prefix) or prefix.startswith(key)):
            continue
        if name.endswith("/"):
            yield from _walk(root, key, prefix)
        elif key.startswith(prefix):
            yield Object(key, entry.stat().st_size)
