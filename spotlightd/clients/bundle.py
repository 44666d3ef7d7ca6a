"""The file of a bundle: a plain tar, whose content is not trusted.

It may contain only regular files with the names that bundles use, with headers of the oldest format (`ustar`): no links,
devices, folders or sparse files, and none of the extensions, whose headers can have any length. Nothing is compressed, so
that the content cannot be larger than the file. Python's `tarfile` writes and parses single headers; its iteration over a
file is not used, because it follows the extensions.

A written file gets its name only when it is complete and durable. A file that is read is checked from start to end
before any of it is used.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import tarfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Self

from spotlightd.clients.atomic import translate_os_errors
from spotlightd.errors import FormatError, SettingsError, StoreError
from spotlightd.files import OURS_ONLY, NewFile
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

BLOCK_BYTES = tarfile.BLOCKSIZE
END_MARK = bytes(2 * BLOCK_BYTES)
PIECE_BYTES = 4 << 20
NOT_A_BUNDLE = "{path} is no bundle of spotlightd ({why}); other files cannot be imported: `spotlightd try` parses one"


@dataclass(frozen=True, slots=True)
class WrittenBundle:
    """A finished bundle."""

    size: int
    sha256: str


class BundleWriter:
    """Writes a bundle under a temporary name; the port `MemberWriter`. Without `finish` nothing is left of it."""

    def __init__(self, path: Path, mode: int = OURS_ONLY) -> None:
        self._path, self._mode = path, mode
        self._new: NewFile | None = None
        self._hash = hashlib.sha256()
        self._size = 0
        self._members: list[Member] = []

    async def __aenter__(self) -> Self:
        with self._translate_errors():
            self._new = await asyncio.to_thread(NewFile, self._path, self._mode, replaces=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._new is not None:
            await asyncio.to_thread(self._new.discard)

    async def add(self, name: str, size: int, chunks: AsyncIterator[bytes]) -> None:
        """See the port."""
        if size > MOST_MEMBER_BYTES or len(self._members) >= MOST_MEMBERS:
            raise SettingsError(f"{name} of {size:,} bytes is too much for one bundle: export fewer days")
        await self._write(_make_header(name, size))
        sha256, actual_size = hashlib.sha256(), 0
        async for chunk in chunks:
            sha256.update(chunk)
            actual_size += len(chunk)
            await self._write(chunk)
        if actual_size != size:
            raise StoreError(f"{name} should have {size:,} bytes and has {actual_size:,}: is its disk damaged?")
        await self._write(bytes(-size % BLOCK_BYTES))
        self._members.append(Member(name, size, sha256.hexdigest()))

    async def finish(self, manifest: Manifest) -> WrittenBundle:
        """Write the manifest and the end of the file, and give it its name."""
        body = to_json(replace(manifest, members=tuple(self._members)))
        if len(body) > MOST_MANIFEST_BYTES:
            raise SettingsError("these are too many documents for one bundle: export fewer days")
        await self._write(_make_header(MANIFEST, len(body)) + body + bytes(-len(body) % BLOCK_BYTES) + END_MARK)
        with self._translate_errors():
            await asyncio.to_thread(self._open_file.commit)
        return WrittenBundle(self._size, self._hash.hexdigest())

    async def _write(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self._size += len(chunk)
        with self._translate_errors():
            await asyncio.to_thread(self._open_file.file.write, chunk)

    @property
    def _open_file(self) -> NewFile:
        if self._new is None:
            raise AssertionError("the bundle is not open")
        return self._new

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            with translate_os_errors("the folder", self._path.parent, "the bundle"):
                yield
        except StoreError as error:
            if isinstance(error.__cause__, FileExistsError):
                raise SettingsError(
                    f"{self._path} exists already: choose another file with --out, or remove it"
                ) from None
            raise


def _make_header(name: str, size: int) -> bytes:
    header = tarfile.TarInfo(name)
    header.size, header.mode = size, 0o644
    return header.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


@dataclass(frozen=True, slots=True)
class _Location:
    """A member, and where its bytes start in the file."""

    start: int
    member: Member


class BundleFile:
    """A bundle that was checked; the port `OpenBundle`."""

    def __init__(self, file: BinaryIO, locations: Mapping[str, _Location], manifest: Manifest) -> None:
        self._file, self._locations, self.manifest = file, locations, manifest

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """See the port."""
        location, sha256 = self._locations[name], hashlib.sha256()
        async for chunk in _read_pieces(self._file, location.start, location.member.size):
            sha256.update(chunk)
            yield chunk
        if sha256.hexdigest() != location.member.sha256:
            raise FormatError(f"{name} of the bundle was changed while it was imported: import it again")


@asynccontextmanager
async def open_bundle(path: Path, progress: Progress) -> AsyncIterator[BundleFile]:
    """Open the bundle in that file, and check it from start to end. FormatError when it is no bundle, or incomplete."""
    file = await asyncio.to_thread(_open, path)
    try:
        size = os.fstat(file.fileno()).st_size
        members = _read_members(file, path, size, progress)
        locations = {location.member.name: location async for location in members}
        yield BundleFile(file, locations, await _read_manifest(file, path, locations))
    finally:
        await asyncio.to_thread(file.close)


def _open(path: Path) -> BinaryIO:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise SettingsError(f"{path} is not a file")
        return path.open("rb")
    except OSError as problem:
        raise SettingsError(f"{path} cannot be read: {problem.strerror}") from None


async def _read_members(file: BinaryIO, path: Path, size: int, progress: Progress) -> AsyncIterator[_Location]:
    offset, names = 0, set[str]()
    while (header := await _read_block(file, offset, path, size)) != bytes(BLOCK_BYTES):
        info = _parse_header(header, path, offset)
        name, start = info.name, offset + BLOCK_BYTES
        if name in names or len(names) > MOST_MEMBERS:
            raise FormatError(f"{path} has {name} twice, or too many members")
        names.add(name)
        offset = start + info.size + -info.size % BLOCK_BYTES
        if offset > size:
            raise _make_cut_off_error(path)
        progress(f"reading {name[:24]}", start, size)
        sha256 = hashlib.sha256()
        async for chunk in _read_pieces(file, start, info.size):
            await asyncio.to_thread(sha256.update, chunk)
        yield _Location(start, Member(name, info.size, sha256.hexdigest()))
    if not names:
        raise FormatError(NOT_A_BUNDLE.format(path=path, why="it is empty"))
    if offset + len(END_MARK) != size or await _read_block(file, offset + BLOCK_BYTES, path, size) != bytes(
        BLOCK_BYTES
    ):
        raise FormatError(f"{path} does not end where its last member ends: it was cut off, or something was added")


async def _read_block(file: BinaryIO, offset: int, path: Path, size: int) -> bytes:
    if offset + BLOCK_BYTES > size:
        raise (
            _make_cut_off_error(path) if offset else FormatError(NOT_A_BUNDLE.format(path=path, why="it is too short"))
        )
    return await asyncio.to_thread(_read_at, file, offset, BLOCK_BYTES)


def _parse_header(header: bytes, path: Path, offset: int) -> tarfile.TarInfo:
    """Parse the header of a member. FormatError unless it is a regular file with a name that bundles use."""
    try:
        info = tarfile.TarInfo.frombuf(header, "ascii", "strict")
    except (tarfile.HeaderError, ValueError) as problem:
        if not offset:
            raise FormatError(NOT_A_BUNDLE.format(path=path, why="it is no tar")) from None
        raise FormatError(f"{path} is damaged at byte {offset:,}: {problem}") from None
    if info.type != tarfile.REGTYPE or not MEMBER.fullmatch(info.name) or info.size < 0:
        why = f"it contains {info.name[:100]!r}, which bundles do not"
        raise FormatError(NOT_A_BUNDLE.format(path=path, why=why))
    return info


async def _read_manifest(file: BinaryIO, path: Path, locations: Mapping[str, _Location]) -> Manifest:
    location = locations.get(MANIFEST)
    if location is None or location.member.size > MOST_MANIFEST_BYTES:
        raise FormatError(NOT_A_BUNDLE.format(path=path, why="it has no manifest, or one that is too long"))
    manifest = from_json(b"".join([chunk async for chunk in _read_pieces(file, location.start, location.member.size)]))
    declared = {member.name: member for member in manifest.members}
    for name in sorted((declared.keys() | locations.keys()) - {MANIFEST}):
        actual = locations[name].member if name in locations else None
        if declared.get(name) != actual:
            raise FormatError(f"{path}: {name} differs from what the manifest says: get the file again")
    return manifest


def _make_cut_off_error(path: Path) -> FormatError:
    return FormatError(f"{path} is cut off: get the file again")


async def _read_pieces(file: BinaryIO, start: int, size: int) -> AsyncIterator[bytes]:
    for offset in range(start, start + size, PIECE_BYTES):
        chunk = await asyncio.to_thread(_read_at, file, offset, min(PIECE_BYTES, start + size - offset))
        yield chunk


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    """Read bytes at a position. FormatError when the file has become shorter."""
    try:
        data: Any = os.pread(file.fileno(), size, offset)
    except OSError as problem:
        raise StoreError(f"the bundle cannot be read: {problem.strerror}") from problem
    if len(data) != size:
        raise FormatError("the bundle became shorter while it was read: import it again")
    return bytes(data)
