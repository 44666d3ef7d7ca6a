"""Check a body while it arrives: is it fast enough, complete, and the document that was requested?

A status of 200 proves nothing: for a missing file publishers send an HTML page with status 200, and for too many requests
a notice.
"""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from spotlightd.backoff import Clock
from spotlightd.errors import Failure, PublisherError
from spotlightd.settings import sources

PREFIX_BYTES = 16_384
MAX_TITLE_LETTERS = 80
SLOWEST_BYTES_PER_SECOND = 1_000

_SIGNATURES = (
    (b"PK", "a zip archive"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a gzip file"),
    (b"{", "JSON"),
    (b"[", "JSON"),
)
_TITLE = re.compile(r"<title[^>]{0,200}>([^<]{0,1000})", re.IGNORECASE)
_HTML = re.compile(rb"<(?:!doctype|html|head|body|!--)", re.IGNORECASE)
_CHARSET = re.compile(r"utf-?(?:8|16|16le|16be)|(?:us-)?ascii|iso-8859-\d+|latin-?1|(?:windows-|cp)125\d")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")


@dataclass(frozen=True, slots=True)
class BodyStream:
    """A body that is about to arrive.

    `read` returns the next bytes, none at the end; OSError when the connection was cut. `length` is the announced length,
    if there is one. `ends_at` is the time of `Clock.now` by which the body must be complete.
    """

    about: str
    read: Callable[[], Awaitable[bytes]]
    length: int | None
    ends_at: float


async def read_body(stream: BodyStream, limits: sources.PublisherSettings, clock: Clock) -> AsyncGenerator[bytes]:
    """The bytes as they arrive; PublisherError when they stop, are too slow, break off or take too long.

    Too slow is less than 1,000 bytes a second over `stall_seconds` of waiting for the publisher. The time for writing to
    disk does not count. Each wait is bounded by `stall_seconds`, the whole body by `total_seconds`.
    """
    received, waited, recent = 0, 0.0, 0
    while True:
        started = clock.now()
        chunk = await _next(stream, received, limits, stream.ends_at - started)
        if not chunk:
            break
        received, recent, waited = received + len(chunk), recent + len(chunk), waited + clock.now() - started
        yield chunk
        if waited >= limits.stall_seconds:
            if recent < SLOWEST_BYTES_PER_SECOND * waited:
                raise PublisherError(
                    f"{stream.about} came too slowly: {recent:,} bytes in the last {waited:.3g} s, "
                    f"less than {SLOWEST_BYTES_PER_SECOND:,} a second"
                )
            waited, recent = 0.0, 0
    if stream.length is not None and received != stream.length:
        raise _make_broken_error(stream, received)


async def _next(stream: BodyStream, received: int, limits: sources.PublisherSettings, seconds_left: float) -> bytes:
    try:
        async with asyncio.timeout(max(0.0, min(limits.stall_seconds, seconds_left))):
            chunk = await stream.read()
    except TimeoutError:
        if seconds_left <= limits.stall_seconds:
            raise _make_overdue_error(stream, received, limits) from None
        raise PublisherError(
            f"{stream.about} sent nothing for {limits.stall_seconds:g} s after {received:,} bytes{_format_length(stream)}"
        ) from None
    except OSError:
        raise _make_broken_error(stream, received) from None
    if seconds_left <= 0:
        raise _make_overdue_error(stream, received, limits)
    return chunk


def _make_overdue_error(stream: BodyStream, received: int, limits: sources.PublisherSettings) -> PublisherError:
    return PublisherError(
        f"{stream.about} was not complete after {limits.total_seconds:g} s: "
        f"{received:,} bytes{_format_length(stream)} had arrived"
    )


def _make_broken_error(stream: BodyStream, received: int) -> PublisherError:
    return PublisherError(f"{stream.about} broke off after {received:,} bytes{_format_length(stream)}")


def _format_length(stream: BodyStream) -> str:
    return "" if stream.length is None else f" of {stream.length:,}"


async def check_body(
    chunks: AsyncIterator[bytes],
    about: str,
    *,
    begins_with: bytes | tuple[bytes, ...],
    most: int,
    page_outcome: Failure = "wrong body",
) -> AsyncGenerator[bytes]:
    """The same bytes, buffered until their start is right. PublisherError when it is wrong, or they are too many.

    `page_outcome` is what an HTML page instead of the document means.
    """
    starts = begins_with if isinstance(begins_with, tuple) else (begins_with,)
    size, buffered, is_accepted = 0, b"", not begins_with
    async for chunk in chunks:
        size += len(chunk)
        if size > most:
            raise make_too_long_error(about, most)
        if is_accepted:
            yield chunk
            continue
        buffered += chunk
        if buffered.startswith(starts):
            is_accepted = True
            yield buffered
            buffered = b""
        elif len(buffered) >= max(PREFIX_BYTES, *map(len, starts)):
            break
    if not is_accepted:
        expected = "' or '".join(start.decode("latin-1").encode("unicode_escape").decode("ascii") for start in starts)
        raise PublisherError(
            f"{about} is {describe_bytes(buffered)}, not a document that begins with '{expected}'",
            outcome=page_outcome if is_page(buffered) else "wrong body",
        )


def check_head(about: str, encoding: str, length: int, most: int) -> None:
    """PublisherError for a response whose headers already show that its body must not be read.

    Bodies are never decompressed: the publisher's own bytes are stored, and a decompression bomb does no harm.
    """
    if encoding.strip().lower() != "identity":
        encoding_name = "".join(char for char in encoding[:40] if char.isprintable())
        raise PublisherError(
            f"{about} came compressed ({encoding_name}) though plain bytes were requested: not decompressed",
            outcome="wrong body",
        )
    if length > most:
        raise make_too_long_error(about, most)


def make_too_long_error(about: str, most: int) -> PublisherError:
    return PublisherError(
        f"{about} is longer than {most:,} bytes, the limit of its source; if the document has really grown, "
        "raise the source's max_bytes"
    )


def describe_bytes(first: bytes) -> str:
    """What the bytes seem to be, for a message: an HTML page with its title, a known kind of file, or their start."""
    if not first:
        return "empty"
    if is_page(first):
        page_title = extract_title(first)
        return f"an HTML page titled '{page_title}'" if page_title else "an HTML page"
    for start, kind in _SIGNATURES:
        if first.startswith(start):
            return kind
    return f"something that begins with {first[:16]!r}"


def is_page(first: bytes) -> bool:
    """Whether the bytes begin an HTML page."""
    return _HTML.match(first.lstrip(b"\xef\xbb\xbf \t\r\n")) is not None


def extract_title(first: bytes) -> str:
    """The title of an HTML page, on one line, cut to its limit; empty when there is none."""
    match = _TITLE.search(first[:PREFIX_BYTES].decode("utf-8", errors="replace"))
    words = html.unescape(match[1]).split() if match else []
    line = "".join(char for char in " ".join(words) if char.isprintable())
    return line if len(line) <= MAX_TITLE_LETTERS else f"{line[:MAX_TITLE_LETTERS]}…"


def decode_page(body: bytes, charset: str, about: str) -> str:
    """A page's text: decoded with the declared charset, else as UTF-8, else as Latin-1 (which accepts any byte)."""
    if not body:
        raise PublisherError(f"{about} is empty, not a page", outcome="wrong body")
    decoded = _decode(body, charset.strip().lower())
    if _CONTROL.search(decoded[:4096]) or body.startswith(b"%PDF"):
        raise PublisherError(
            f"{about} is {describe_bytes(body[:PREFIX_BYTES])}, not a page of text", outcome="wrong body"
        )
    return decoded


def _decode(body: bytes, charset: str) -> str:
    """Decode with the charset if it is well known: Python's registry also has slow and surprising ones."""
    for name in (charset, "utf-8-sig"):
        if name == "utf-8-sig" or _CHARSET.fullmatch(name):
            try:
                return body.decode(name)
            except (UnicodeDecodeError, LookupError):
                continue
    return body.decode("latin-1")
