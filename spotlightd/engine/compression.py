"""Compressed bodies, both ways: lz4, zstd and gzip, as HTTP's content codings name them."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lz4.frame
import zstandard

from spotlightd.engine.errors import UNKNOWN_COMPRESSION, failure

_GZIP_OR_ZLIB, _GZIP = 47, 31
KNOWN = ("zstd", "lz4", "gzip")


@dataclass(frozen=True, slots=True)
class Encoder:
    """`add` gives what can be sent so far, `end` the rest. One encoder belongs to one answer."""

    name: str
    add: Callable[[bytes], bytes]
    end: Callable[[], bytes]


def encoder(accepted: str) -> Encoder | None:
    """The first coding of an Accept-Encoding that we know; None when the answer goes as it is."""
    for entry in accepted.split(","):
        name, _, weight = entry.partition(";")
        if name.strip() in KNOWN and weight.replace(" ", "") not in {"q=0", "q=0.0"}:
            return _encoder(name.strip())
    return None


def _encoder(name: str) -> Encoder:
    if name == "lz4":
        frame = lz4.frame.LZ4FrameCompressor(auto_flush=True)
        head = [frame.begin()]
        return Encoder(
            name,
            lambda data: (head.pop() if head else b"") + frame.compress(data),
            lambda: (head.pop() if head else b"") + frame.flush(),
        )
    if name == "zstd":
        packer = zstandard.ZstdCompressor(level=1).compressobj()
        return Encoder(
            name, lambda data: packer.compress(data) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK), packer.flush
        )
    deflate = zlib.compressobj(3, zlib.DEFLATED, _GZIP)
    return Encoder(name, lambda data: deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH), deflate.flush)


class Decoder:
    """Undoes a content coding piece by piece. A body may be several frames one after the other."""

    def __init__(self, frame: Callable[[], Any] | None, errors: tuple[type[Exception], ...] = ()) -> None:
        self._new = frame
        self._errors = errors
        self._frame: Any = None

    def add(self, data: bytes) -> bytes:
        """What these bytes give. Failed when they are not what the coding says."""
        if self._new is None:
            return data
        pieces = []
        try:
            while data:
                if self._frame is None or self._frame.eof:
                    self._frame = self._new()
                pieces.append(self._frame.decompress(data))
                data = (self._frame.unused_data or b"") if self._frame.eof else b""
        except self._errors as problem:
            raise failure(UNKNOWN_COMPRESSION, f"The body cannot be decompressed: {problem}") from None
        return b"".join(pieces)

    def close(self) -> None:
        """Failed when the body ended inside a frame."""
        if self._frame is not None and not self._frame.eof:
            raise failure(UNKNOWN_COMPRESSION, "The compressed body ended too early")


def decoder(coding: str) -> Decoder:
    """Undo a Content-Encoding. Failed for one that we do not know."""
    name = coding.strip().lower()
    if name in {"", "identity"}:
        return Decoder(None)
    if name == "lz4":
        return Decoder(lz4.frame.LZ4FrameDecompressor, (RuntimeError, EOFError))
    if name == "zstd":
        return Decoder(zstandard.ZstdDecompressor().decompressobj, (zstandard.ZstdError,))
    if name in {"gzip", "deflate"}:
        return Decoder(lambda: zlib.decompressobj(_GZIP_OR_ZLIB), (zlib.error,))
    raise failure(UNKNOWN_COMPRESSION, f"Unknown compression method '{name[:40]}': use one of {', '.join(KNOWN)}")
