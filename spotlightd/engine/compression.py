"""Compress answers and decompress requests: lz4, zstd and gzip, under the names of HTTP's content codings."""

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
    """`add` returns the bytes that can be sent so far, `end` the rest. Each answer has its own encoder."""

    name: str
    add: Callable[[bytes], bytes]
    end: Callable[[], bytes]


def choose_encoder(accepted: str) -> Encoder | None:
    """The first coding of an Accept-Encoding header that is supported; None means that the answer is not compressed."""
    for entry in accepted.split(","):
        name, _, weight = entry.partition(";")
        if name.strip() in KNOWN and weight.replace(" ", "") not in {"q=0", "q=0.0"}:
            return _make_encoder(name.strip())
    return None


def _make_encoder(name: str) -> Encoder:
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
    """Decompresses a body piece by piece. A body may consist of several frames in a row."""

    def __init__(self, new_frame: Callable[[], Any] | None, errors: tuple[type[Exception], ...] = ()) -> None:
        self._new_frame = new_frame
        self._errors = errors
        self._frame: Any = None

    def add(self, data: bytes) -> bytes:
        """Decompress these bytes. StatementError when they do not follow the coding."""
        if self._new_frame is None:
            return data
        pieces = []
        try:
            while data:
                if self._frame is None or self._frame.eof:
                    self._frame = self._new_frame()
                pieces.append(self._frame.decompress(data))
                data = (self._frame.unused_data or b"") if self._frame.eof else b""
        except self._errors as problem:
            raise failure(UNKNOWN_COMPRESSION, f"The body cannot be decompressed: {problem}") from None
        return b"".join(pieces)

    def close(self) -> None:
        """StatementError when the body ended inside a frame."""
        if self._frame is not None and not self._frame.eof:
            raise failure(UNKNOWN_COMPRESSION, "The compressed body ended too early")


def make_decoder(coding: str) -> Decoder:
    """The decoder for a Content-Encoding. StatementError when it is not supported."""
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
