"""Cuts bytes into blocks of whole lines in UTF-8, each with the true number of its first line.

Publishers' files have stray NULs and carriage returns. Both are removed wherever they are, and neither ends a line: only
a line feed does. So line N here is what `sed -n Np` shows of the file.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spotlightd.errors import FormatError

Encoding = Literal["utf-8", "latin-1"]
FIRST_BLOCK_BYTES = 1 << 20
BLOCK_BYTES = 4 << 20
LONGEST_LINE_BYTES = 1 << 20
PIECE_BYTES = 1 << 18
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines. Each ends with a line feed, except possibly the last of the file. `first` is the number of the first."""

    first: int
    count: int
    text: bytes

    def texts(self, numbers: Iterable[int]) -> list[str]:
        """The lines with these numbers, without their line ends. Splits the block once, whatever their number."""
        texts = self.text.split(b"\n")
        return [texts[number - self.first].decode() for number in numbers]


def read_file(path: Path) -> Generator[bytes, None, None]:
    """The bytes of a document that is no archive, in pieces."""
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def read_blocks(pieces: Iterable[bytes], encoding: Encoding, *, member: int = 0) -> Generator[Block, None, None]:
    """The blocks of a text. FormatError for a line of more than 1 MiB, and for bytes that the encoding does not have."""
    number = 1
    for raw in _cut_at_line_ends(pieces, member):
        text = raw.removeprefix(_BOM) if number == 1 else raw
        if b"\0" in text or b"\r" in text:
            text = text.translate(None, b"\0\r")
        if not text.isascii():
            text = _to_utf8(text, encoding, number, member)
        count = text.count(b"\n") + (not text.endswith(b"\n"))
        yield Block(number, count, text)
        number += count


def _cut_at_line_ends(pieces: Iterable[bytes], member: int) -> Generator[bytes, None, None]:
    """The same bytes in blocks that end where a line ends.

    The first block is 1 MiB, so that the next step can begin; the size grows to 4 MiB, beyond which nothing is gained.
    """
    waiting: list[bytes] = []
    size, wanted = 0, FIRST_BLOCK_BYTES
    for piece in pieces:
        size += len(piece)
        end = piece.rfind(b"\n") + 1 if size >= wanted else 0
        if not end:
            waiting.append(piece)
            if size > wanted + LONGEST_LINE_BYTES:
                raise FormatError("a line is longer than 1 MiB: this is not a text of lines", member=member)
            continue
        yield b"".join([*waiting, piece[:end]])
        waiting = [piece[end:]]
        size, wanted = len(waiting[0]), min(2 * wanted, BLOCK_BYTES)
    if size:
        yield b"".join(waiting)


def _to_utf8(text: bytes, encoding: Encoding, number: int, member: int) -> bytes:
    try:
        return text.decode(encoding).encode() if encoding != "utf-8" else text.decode().encode()
    except UnicodeDecodeError as problem:
        line = number + text.count(b"\n", 0, problem.start)
        raise FormatError(f"line {line} is not {encoding}: {problem.reason}", member=member, line=line) from None
