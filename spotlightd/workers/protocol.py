"""What the parser's child says through its pipe: frames of one kind, one stream and a length, then so many bytes.

The bytes of a BLOCK are a piece of one dataset's Arrow stream and are handed on as they arrive, whole or not; all
other frames are small JSON values and are put together first.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

HEAD = struct.Struct("<BBI")
LONGEST_MESSAGE = 1 << 20


class Kind(IntEnum):
    READY = 1  # the child is warm: {}
    BLOCK = 2  # bytes of the Arrow stream of the source's dataset with that number
    REJECTS = 3  # some rejects: [[member, line, text, reason], …]
    DONE = 4  # {"rows": {dataset: count}, "lines": count}
    FAILED = 5  # {"message", "member", "line"}: the document is not what it should be
    STARVED = 6  # {}: the child has no memory left


@dataclass(frozen=True, slots=True)
class Frame:
    """`value` is set for all kinds but BLOCK, `data` for BLOCK only."""

    kind: Kind
    stream: int = 0
    data: bytes = b""
    value: Any = None


def head(kind: Kind, length: int, stream: int = 0) -> bytes:
    return HEAD.pack(kind, stream, length)


def message(kind: Kind, value: Any) -> bytes:
    body = json.dumps(value).encode()
    return head(kind, len(body)) + body


class Frames:
    """Takes bytes as they arrive and gives back frames. ValueError when they cannot be the child's."""

    def __init__(self) -> None:
        self._waiting = b""
        self._stream = 0
        self._left_of_block = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        while data:
            if self._left_of_block:
                piece, data = (
                    (data, b"")
                    if len(data) <= self._left_of_block
                    else (data[: self._left_of_block], data[self._left_of_block :])
                )
                self._left_of_block -= len(piece)
                yield Frame(Kind.BLOCK, self._stream, piece)
                continue
            self._waiting += data
            data = b""
            if len(self._waiting) < HEAD.size:
                return
            number, stream, length = HEAD.unpack_from(self._waiting)
            kind = Kind(number)
            if kind is Kind.BLOCK:
                self._stream, self._left_of_block = stream, length
                data, self._waiting = self._waiting[HEAD.size :], b""
                continue
            if length > LONGEST_MESSAGE:
                raise ValueError(f"a message of {length} bytes")
            if len(self._waiting) < HEAD.size + length:
                return
            body = self._waiting[HEAD.size : HEAD.size + length]
            data, self._waiting = self._waiting[HEAD.size + length :], b""
            yield Frame(kind, value=json.loads(body))
