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

from spotlightd.confinement.answers import decode_json

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
    body = json.dumps(value, ensure_ascii=False).encode(errors="replace")
    return encode_head(kind, len(body)) + body


class FrameDecoder:
    """Splits the arriving bytes into frames. ValueError for bytes that break the protocol."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._stream = 0
        self._block_rest = 0
        self._messages_bytes = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete, and the pieces of blocks. Each byte is copied once, however small the frames and the
        data are.
        """
        whole, at = self._buffer, 0
        whole += data
        while at < len(whole):
            if self._block_rest:
                piece = bytes(memoryview(whole)[at : at + self._block_rest])
                self._block_rest -= len(piece)
                at += len(piece)
                yield Frame(Kind.BLOCK, self._stream, piece)
                continue
            if len(whole) - at < HEAD.size:
                break
            number, stream, length = HEAD.unpack_from(whole, at)
            kind, start = Kind(number), at + HEAD.size
            if kind is Kind.BLOCK:
                self._stream, self._block_rest, at = stream, length, start
                continue
            if length > MAX_MESSAGE_BYTES:
                raise ValueError(f"a message of {length} bytes is too long")
            if len(whole) - start < length:
                break
            at = start + length
            self._count_message(kind, length)
            yield Frame(kind, value=decode_json(bytes(whole[start:at])))
        del whole[:at]

    def _count_message(self, kind: Kind, length: int) -> None:
        self._messages_bytes = 0 if kind in {Kind.DONE, Kind.FAILED} else self._messages_bytes + length
        if self._messages_bytes > MOST_MESSAGES_BYTES:
            raise ValueError(f"more than {MOST_MESSAGES_BYTES >> 20} MiB of rejected lines")
