"""A part of a file that never changes, as a client asks for it with `Range` and `If-Range` (RFC 9110, 13 and 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiohttp import web

_RANGE = re.compile(r"bytes=[ \t]*(?P<first>[0-9]*)-(?P<last>[0-9]*)[ \t]*", re.ASCII)
_MOST_DIGITS = 18


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes from `first` on. A length of 0: the file has none of the requested bytes."""

    first: int
    length: int


def read_range(request: web.Request, size: int, etag: str) -> ByteRange | None:
    """The requested part of a file of that size and ETag; None for the whole file.

    That also holds for what a server may ignore: several ranges, another unit, a text that is no range, another method
    than GET, and a part of a file that is no longer the client's.
    """
    if request.method != "GET" or request.headers.get("If-Range", etag) != etag:
        return None
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    if match is None or len(match[0]) > 2 * _MOST_DIGITS:
        return None
    first, last = match["first"], match["last"]
    if not first:
        return _read_suffix(last, size)
    if last and int(last) < int(first):
        return None
    end = min(int(last) + 1, size) if last else size
    return ByteRange(int(first), max(end - int(first), 0))


def _read_suffix(length: str, size: int) -> ByteRange | None:
    """The last bytes of the file; None when the text names no number of them."""
    if not length:
        return None
    part = min(int(length), size)
    return ByteRange(size - part, part)
