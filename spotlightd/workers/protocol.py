"""The protocol on the pipe from the parser child: frames with a kind, a stream number and a length, then so many bytes.

The bytes of a BLOCK are a piece of one dataset's Arrow stream and are passed on as they arrive, complete or not. All
other frames are small JSON values; they are passed on when complete.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

HEAD = struct.Struct("<BBI")
MAX_MESSAGE_BYTES = 1 << 20
MOST_MESSAGES_BYTES = 256 << 20  # of one document: the daemon holds its rejects until the end


class Kind(IntEnum):
    READY = 1  # {"confinement"}: the child has imported everything it needs, and is confined as the text says
    BLOCK = 2  # bytes of the Arrow stream of the source's dataset with that number
    REJECTS = 3  # some rejects: [[member, line, text, reason, of_other_slice], …]
    DONE = 4  # the end of a document: {"rows": {dataset: count}, "lines": count, "content": digest of its members}
    FAILED = 5  # {"message", "member", "line"}: the FormatError of a document
    OUT_OF_MEMORY = 6  # {}
    END = 7  # {}: all streams are complete; the child is free for the next group


@dataclass(frozen=True, slots=True)
class Frame:
    """A BLOCK has `data`; every other kind has `value`."""

    kind: Kind
    stream: int = 0
    data: bytes = b""
    value: Any = None


def encode_head(kind: Kind, length: int, stream: int = 0) -> bytes:
    return HEAD.pack(kind, stream, length)


def encode_message(kind: Kind, value: Any) -> bytes:
    body = json.dumps(value).encode()
    return encode_head(kind, len(body)) + body


class FrameDecoder:
    """Splits the arriving bytes into frames. ValueError for bytes that break the protocol."""

    def __init__(self) -> None:
        self._buffer = b""
        self._stream = 0
        self._block_rest = 0
        self._messages_bytes = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        while data:
            if self._block_rest:
                piece, data = (
                    (data, b"")
                    if len(data) <= self._block_rest
                    else (data[: self._block_rest], data[self._block_rest :])
                )
                self._block_rest -= len(piece)
                yield Frame(Kind.BLOCK, self._stream, piece)
                continue
            self._buffer += data
            data = b""
            if len(self._buffer) < HEAD.size:
                return
            number, stream, length = HEAD.unpack_from(self._buffer)
            kind = Kind(number)
            if kind is Kind.BLOCK:
                self._stream, self._block_rest = stream, length
                data, self._buffer = self._buffer[HEAD.size :], b""
                continue
            if length > MAX_MESSAGE_BYTES:
                raise ValueError(f"a message of {length} bytes is too long")
            if len(self._buffer) < HEAD.size + length:
                return
            self._messages_bytes += length
            if self._messages_bytes > MOST_MESSAGES_BYTES:
                raise ValueError(f"more than {MOST_MESSAGES_BYTES >> 20} MiB of rejected lines")
            if kind in {Kind.DONE, Kind.FAILED}:
                self._messages_bytes = 0
            body = self._buffer[HEAD.size : HEAD.size + length]
            data, self._buffer = self._buffer[HEAD.size + length :], b""
            yield Frame(kind, value=json.loads(body))
