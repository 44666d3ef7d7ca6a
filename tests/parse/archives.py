"""Zip archives that no honest program writes (all constructed)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spotlightd import Body
from spotlightd.settings.sources import ParserSettings

DEFLATED = 8
STORED = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A member as the archive claims it; None: the truth. `at`: the number of another entry whose bytes it shares."""

    name: str
    data: bytes = b""
    method: int = DEFLATED
    size: int | None = None
    packed_size: int | None = None
    crc: int | None = None
    flags: int = 0
    mode: int = 0
    at: int | None = None


def archive(entries: Sequence[Entry]) -> bytes:
    body, directory = b"", b""
    offsets: list[int] = []
    for entry in entries:
        packed = _deflate(entry.data) if entry.method == DEFLATED else entry.data
        size = len(entry.data) if entry.size is None else entry.size
        packed_size = len(packed) if entry.packed_size is None else entry.packed_size
        crc = zlib.crc32(entry.data) if entry.crc is None else entry.crc
        name = entry.name.encode()
        offsets.append(len(body) if entry.at is None else offsets[entry.at])
        wide = struct.pack("<HHQ", 1, 8, size) if size >= 0xFFFFFFFF else b""
        head = struct.pack("<5H3I", 45, entry.flags, entry.method, 0, 0x21, crc, packed_size, min(size, 0xFFFFFFFF))
        body += b"PK\x03\x04" + head + struct.pack("<HH", len(name), 0) + name + packed
        directory += b"PK\x01\x02" + struct.pack("<H", 0x0314) + head + struct.pack("<HH", len(name), len(wide))
        directory += struct.pack("<HHHII", 0, 0, 0, entry.mode << 16, offsets[-1]) + name + wide
    end = struct.pack("<4H2IH", 0, 0, len(entries), len(entries), len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end


def _deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def body(folder: Path, data: bytes, limits: ParserSettings | None = None) -> Body:
    path = folder / "document"
    path.write_bytes(data)
    return Body(path, "document.zip", limits or ParserSettings())
