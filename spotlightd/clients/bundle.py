"""The file of a bundle: a plain tar, read with suspicion.

Nothing but plain files under the names that bundles have, in heads of the oldest kind (`ustar`): no links, no devices,
no folders, no holes, and none of the extensions whose heads can be of any length. Nothing in it is compressed, so that
it cannot hold more than it is long. Python's own `tarfile` makes and reads the heads one by one; its walk through a
file is not used, because that follows all of those extensions.

A file that is written has its name only when it is whole and durable. One that is read is looked through first, from
end to end, before anything is done with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Self

from spotlightd.clients.atomic import blaming, flush
from spotlightd.errors import FormatError, SettingsError, StoreError
from spotlightd.model.bundle import (
    MANIFEST,
    MEMBER,
    MOST_MANIFEST_BYTES,
    MOST_MEMBER_BYTES,
    MOST_MEMBERS,
    Manifest,
    Member,
)
from spotlightd.model.manifest import from_json, to_json
from spotlightd.ports.progress import Progress

BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)
PIECE_BYTES = 4 << 20
NO_BUNDLE = "{path} is no bundle of spotlightd ({why}); other files cannot be imported: `spotlightd try` parses one"


@dataclass(frozen=True, slots=True)
class Kept:
    """A finished bundle."""

    size: int
    sha256: str


class BundlePen:
    """Writes a bundle beside its name; the port `Pen`. What was not kept is gone when it is left."""

    def __init__(self, path: Path) -> None:
        self._path, self._part = path, path.with_name(path.name + ".part")
        self._file: BinaryIO | None = None
        self._seen = hashlib.sha256()
        self._size = 0
        self._members: list[Member] = []

    async def __aenter__(self) -> Self:
        if await asyncio.to_thread(self._path.exists):
            raise SettingsError(f"there is {self._path} already: name another file with --out, or remove it")
        with blaming("the folder", self._path.parent, "the bundle"):
            self._file = await asyncio.to_thread(self._part.open, "wb")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._file is not None:
            await asyncio.to_thread(self._file.close)
            await asyncio.to_thread(self._part.unlink, missing_ok=True)

    async def add(self, name: str, size: int, chunks: AsyncIterator[bytes]) -> None:
        """See the port."""
        if size > MOST_MEMBER_BYTES or len(self._members) >= MOST_MEMBERS:
            raise SettingsError(f"{name} of {size:,} bytes is too much for one bundle: ask for fewer days")
        await self._write(_head(name, size))
        seen, written = hashlib.sha256(), 0
        async for chunk in chunks:
            seen.update(chunk)
            written += len(chunk)
            await self._write(chunk)
        if written != size:
            raise StoreError(f"{name} was to have {size:,} bytes and has {written:,}: is its disk damaged?")
        await self._write(bytes(-size % BLOCK))
        self._members.append(Member(name, size, seen.hexdigest()))

    async def keep(self, manifest: Manifest) -> Kept:
        """The manifest, the end, and the name."""
        body = to_json(replace(manifest, members=tuple(self._members)))
        if len(body) > MOST_MANIFEST_BYTES:
            raise SettingsError("these are too many documents for one bundle: ask for fewer days")
        await self._write(_head(MANIFEST, len(body)) + body + bytes(-len(body) % BLOCK) + END)
        with blaming("the folder", self._path.parent, "the bundle"):
            await asyncio.to_thread(self._name)
        return Kept(self._size, self._seen.hexdigest())

    async def _write(self, chunk: bytes) -> None:
        if self._file is None:
            raise AssertionError("the bundle is not open")
        self._seen.update(chunk)
        self._size += len(chunk)
        with blaming("the folder", self._path.parent, "the bundle"):
            await asyncio.to_thread(self._file.write, chunk)

    def _name(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
        self._part.replace(self._path)
        flush(self._path.parent)


def _head(name: str, size: int) -> bytes:
    head = tarfile.TarInfo(name)
    head.size, head.mode = size, 0o644
    return head.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a member's bytes are in the file, and what they are."""

    first: int
    member: Member


class BundleFile:
    """A bundle that was looked through; the port `Opened`."""

    def __init__(self, file: BinaryIO, places: Mapping[str, _Place], manifest: Manifest) -> None:
        self._file, self._places, self.manifest = file, places, manifest

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """See the port."""
        place, seen = self._places[name], hashlib.sha256()
        async for chunk in _pieces(self._file, place.first, place.member.size):
            seen.update(chunk)
            yield chunk
        if seen.hexdigest() != place.member.sha256:
            raise FormatError(f"{name} of the bundle was changed while it was imported: import it again")


@asynccontextmanager
async def opened_bundle(path: Path, moves: Progress) -> AsyncIterator[BundleFile]:
    """The bundle in that file, looked through from end to end. FormatError for whatever is none, or not whole."""
    file = await asyncio.to_thread(_opened, path)
    try:
        size = os.fstat(file.fileno()).st_size
        places = {one.member.name: one async for one in _members(file, path, size, moves)}
        yield BundleFile(file, places, await _manifest(file, path, places))
    finally:
        await asyncio.to_thread(file.close)


def _opened(path: Path) -> BinaryIO:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise SettingsError(f"{path} is no file")
        return path.open("rb")
    except OSError as problem:
        raise SettingsError(f"{path} cannot be read: {problem.strerror}") from None


async def _members(file: BinaryIO, path: Path, size: int, moves: Progress) -> AsyncIterator[_Place]:
    at, names = 0, set[str]()
    while (head := await _block(file, at, path, size)) != bytes(BLOCK):
        info = _understood(head, path, at)
        name, first = info.name, at + BLOCK
        if name in names or len(names) > MOST_MEMBERS:
            raise FormatError(f"{path} has {name} twice, or too many members")
        names.add(name)
        at = first + info.size + -info.size % BLOCK
        if at > size:
            raise _cut_off(path)
        moves(f"reads {name[:24]}", first, size)
        seen = hashlib.sha256()
        async for chunk in _pieces(file, first, info.size):
            await asyncio.to_thread(seen.update, chunk)
        yield _Place(first, Member(name, info.size, seen.hexdigest()))
    if not names:
        raise FormatError(NO_BUNDLE.format(path=path, why="it is empty"))
    if at + len(END) != size or await _block(file, at + BLOCK, path, size) != bytes(BLOCK):
        raise FormatError(f"{path} does not end where its last member ends: it was cut off, or something was added")


async def _block(file: BinaryIO, at: int, path: Path, size: int) -> bytes:
    if at + BLOCK > size:
        raise _cut_off(path) if at else FormatError(NO_BUNDLE.format(path=path, why="it is too short"))
    return await asyncio.to_thread(_at, file, at, BLOCK)


def _understood(head: bytes, path: Path, at: int) -> tarfile.TarInfo:
    """A head of a plain file of ours."""
    try:
        info = tarfile.TarInfo.frombuf(head, "ascii", "strict")
    except (tarfile.HeaderError, ValueError) as problem:
        if not at:
            raise FormatError(NO_BUNDLE.format(path=path, why="it is no tar")) from None
        raise FormatError(f"{path} is damaged at byte {at:,}: {problem}") from None
    if info.type != tarfile.REGTYPE or not MEMBER.fullmatch(info.name) or info.size < 0:
        why = f"it holds {info.name[:100]!r}, which bundles do not"
        raise FormatError(NO_BUNDLE.format(path=path, why=why))
    return info


async def _manifest(file: BinaryIO, path: Path, places: Mapping[str, _Place]) -> Manifest:
    place = places.get(MANIFEST)
    if place is None or place.member.size > MOST_MANIFEST_BYTES:
        raise FormatError(NO_BUNDLE.format(path=path, why="it has no manifest, or one that is too long"))
    made = from_json(b"".join([chunk async for chunk in _pieces(file, place.first, place.member.size)]))
    said = {one.name: one for one in made.members}
    for name in sorted((said.keys() | places.keys()) - {MANIFEST}):
        found = places[name].member if name in places else None
        if said.get(name) != found:
            raise FormatError(f"{path}: {name} is not what the manifest says of it: have it sent to you again")
    return made


def _cut_off(path: Path) -> FormatError:
    return FormatError(f"{path} is cut off: have it sent to you again")


async def _pieces(file: BinaryIO, first: int, size: int) -> AsyncIterator[bytes]:
    for at in range(first, first + size, PIECE_BYTES):
        chunk = await asyncio.to_thread(_at, file, at, min(PIECE_BYTES, first + size - at))
        yield chunk


def _at(file: BinaryIO, at: int, size: int) -> bytes:
    """So many bytes at that place. FormatError when the file has become shorter."""
    try:
        found: Any = os.pread(file.fileno(), size, at)
    except OSError as problem:
        raise StoreError(f"the bundle cannot be read: {problem.strerror}") from problem
    if len(found) != size:
        raise FormatError("the bundle became shorter while it was read: import it again")
    return bytes(found)
