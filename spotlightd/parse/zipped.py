"""Reads zip archives that are not trusted. Members are inflated and counted here.

The standard library reads the central directory. All of it is checked before a byte is inflated: names that leave the
folder, links, encryption, methods other than stored and deflate, archives inside, entries that overlap. While inflating,
the output is compared with the declared size, the limits and the checksum.
"""

from __future__ import annotations

import hashlib
import stat
import struct
import zipfile
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from isal import isal_zlib

from spotlightd.errors import FormatError
from spotlightd.model.provenance import Body
from spotlightd.settings.sources import ParserSettings

PIECE_BYTES = 1 << 18
_READ_BYTES = 1 << 17
_GROWTH_FREE_BYTES = 1 << 20
_LOCAL = struct.Struct("<4s5H3I2H")
_ARCHIVES = (".zip", ".gz", ".bz2", ".xz", ".7z", ".rar", ".tar", ".tgz", ".zst", ".lz4", ".jar", ".cab")


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive. `index` is its number among the files there, as in pointers: 0 for the first."""

    index: int
    name: str
    archive: str
    path: Path
    limits: ParserSettings
    info: zipfile.ZipInfo

    @property
    def ending(self) -> str:
        """`.txt`, in lower case; empty when the name has none."""
        return PurePosixPath(self.name).suffix.lower()


def is_archive(path: Path) -> bool:
    """Whether the document begins like a zip archive."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def members(body: Body) -> tuple[Member, ...]:
    """All files of the archive, in its own order. FormatError if it is not a zip archive, or not a safe one."""
    limits = body.limits
    try:
        with zipfile.ZipFile(body.path) as archive:
            entries = archive.infolist()
            start_of_directory = archive.start_dir
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, EOFError) as problem:
        raise FormatError(f"{body.name} is not a whole zip archive: {_describe_start(body.path)}") from problem
    if len(entries) > limits.members:
        raise FormatError(
            f"{body.name} holds {len(entries):,} files, more than the {limits.members:,} allowed (parser.members)"
        )
    for info in entries:
        _refuse(info, body.name)
    _refuse_overlap(entries, start_of_directory, body.name)
    declared = sum(info.file_size for info in entries)
    if declared > limits.unpacked_bytes:
        raise FormatError(
            f"{body.name} says that it unpacks to {declared:,} bytes, more than the {limits.unpacked_bytes:,} allowed (parser.unpacked_bytes)"
        )
    files = [info for info in entries if not info.is_dir()]
    if not files:
        raise FormatError(f"{body.name} is a zip archive without a file in it")
    return tuple(Member(index, info.filename, body.name, body.path, limits, info) for index, info in enumerate(files))


def content_digest(body: Body) -> str:
    """Two SHA-256 in a text: one over the sizes and bytes of all files, whatever their names, folders and order are, and
    one over their names too, in the archive's order. Both are the same for two archives that differ only in compression,
    times and comments. Empty when it is no archive that can be read whole.
    """
    contents, names = list[str](), list[str]()
    try:
        for member in members(body):
            content, size = hashlib.sha256(), 0
            for piece in pieces(member):
                content.update(piece)
                size += len(piece)
            contents.append(f"{size} {content.hexdigest()}\n")
            names.append(f"{len(member.name)} {member.name}\n")
    except FormatError:
        return ""
    named = map("".join, zip(contents, names, strict=True))
    return f"{_digest(sorted(contents))} {_digest(named)}"


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("".join(lines).encode(errors="surrogatepass")).hexdigest()


def _describe_start(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(60)
    if start[:2] == b"PK":
        return "it begins like one, but is cut off or damaged"
    if start.lstrip()[:1] == b"<":
        return f"it is a web page, {start.decode(errors='replace')!r}"
    return f"it begins with {start[:16]!r}" if start else "it is empty"


def _refuse(info: zipfile.ZipInfo, archive: str) -> None:
    name, where = info.filename, f"{archive}: member {info.filename[:120]!r}"
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name.split("/", maxsplit=1)[0]:
        raise FormatError(f"{where} has a name that leaves the folder")
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise FormatError(f"{where} is a link or a device, not a file")
    if info.flag_bits & 0x1:
        raise FormatError(f"{where} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FormatError(f"{where} is compressed with method {info.compress_type}; only stored and deflate are read")
    if path.suffix.lower() in _ARCHIVES:
        raise FormatError(f"{where} is an archive inside the archive")


def _refuse_overlap(entries: list[zipfile.ZipInfo], end: int, archive: str) -> None:
    """Entries that share bytes let a small archive unpack to a huge size without a high ratio."""
    last, before = -1, ""
    for info in sorted(entries, key=lambda info: info.header_offset):
        if info.header_offset < last:
            raise FormatError(f"{archive}: members {before[:120]!r} and {info.filename[:120]!r} overlap")
        before = info.filename
        last = info.header_offset + _LOCAL.size + len(info.orig_filename) + info.compress_size
    if last > end:
        raise FormatError(f"{archive}: member {before[:120]!r} reaches into the list of members")


def pieces(member: Member) -> Generator[bytes, None, None]:
    """The member's bytes in pieces of at most 1 MiB. FormatError as soon as it differs from what the archive says."""
    size = checksum = 0
    first = True
    for piece in _inflate(member):
        size += len(piece)
        checksum = isal_zlib.crc32(piece, checksum)
        if first and piece[:4] in (b"PK\x03\x04", b"\x1f\x8b\x08\x00", b"\x1f\x8b\x08\x08"):
            raise _make_error(member, "is an archive inside the archive")
        first = False
        _count(member, size)
        yield piece
    if size != member.info.file_size:
        raise _make_error(
            member,
            f"unpacks to {size:,} bytes, not the {member.info.file_size:,} that the archive says: it is cut off or damaged",
        )
    if checksum != member.info.CRC:
        raise _make_error(member, "does not match its checksum: the archive is damaged")


def _count(member: Member, size: int) -> None:
    limits, packed = member.limits, max(member.info.compress_size, 1)
    if size > member.info.file_size:
        raise _make_error(member, f"unpacks to more than the {member.info.file_size:,} bytes that the archive says")
    if size > limits.unpacked_bytes:
        raise _make_error(member, f"unpacks to more than {limits.unpacked_bytes:,} bytes (parser.unpacked_bytes)")
    if size > _GROWTH_FREE_BYTES and size > limits.ratio * packed:
        raise _make_error(member, f"grows more than {limits.ratio} times in unpacking, like a zip bomb (parser.ratio)")


def _inflate(member: Member) -> Generator[bytes, None, None]:
    inflater = isal_zlib.decompressobj(-15) if member.info.compress_type == zipfile.ZIP_DEFLATED else None
    for packed in _read_packed(member):
        if inflater is None:
            yield packed
            continue
        waiting = packed
        while waiting and not inflater.eof:
            try:
                piece = inflater.decompress(waiting, PIECE_BYTES)
            except isal_zlib.IsalError as problem:  # type: ignore[misc]  # its stub lacks the base class
                raise _make_error(member, f"cannot be inflated: {problem}") from None
            waiting = inflater.unconsumed_tail
            if piece:
                yield piece
    if inflater is not None:
        if rest := inflater.flush():
            yield rest
        if not inflater.eof:
            raise _make_error(member, "ends in the middle: the archive is cut off or damaged")


def _read_packed(member: Member) -> Generator[bytes, None, None]:
    """The member's compressed bytes. Only their start is taken from the local header."""
    with member.path.open("rb") as file:
        file.seek(member.info.header_offset)
        header = file.read(_LOCAL.size)
        if len(header) < _LOCAL.size or header[:4] != b"PK\x03\x04":
            raise _make_error(member, "does not begin where the archive says")
        *_, name_length, extra_length = _LOCAL.unpack(header)
        file.seek(name_length + extra_length, 1)
        left = member.info.compress_size
        while left and (packed := file.read(min(left, _READ_BYTES))):
            left -= len(packed)
            yield packed
    if left:
        raise _make_error(member, "ends in the middle: the archive is cut off")


def _make_error(member: Member, what: str) -> FormatError:
    return FormatError(f"{member.archive}: member {member.name[:120]!r} {what}", member=member.index)
