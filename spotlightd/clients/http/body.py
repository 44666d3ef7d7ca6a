"""Whether bytes arrive fast enough, are complete, and are the document that was asked for: over any stream of bytes.

A 200 proves nothing: publishers answer a missing file with their site's HTML page, and a limit with a notice.
"""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from spotlightd.clients.http.rate_limit import Clock
from spotlightd.errors import PublisherError
from spotlightd.settings import sources

GLANCE_BYTES = 16_384
TITLE_LETTERS = 80
SLOWEST_BYTES_PER_SECOND = 1_000

_KNOWN = ((b"PK", "a zip archive"), (b"%PDF", "a PDF"), (b"\x1f\x8b", "a gzip file"), (b"{", "JSON"), (b"[", "JSON"))
_TITLE = re.compile(r"<title[^>]{0,200}>([^<]{0,1000})", re.IGNORECASE)
_HTML = re.compile(rb"<(?:!doctype|html|head|body|!--)", re.IGNORECASE)
_CHARSET = re.compile(r"utf-?(?:8|16|16le|16be)|(?:us-)?ascii|iso-8859-\d+|latin-?1|(?:windows-|cp)125\d")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")


@dataclass(frozen=True, slots=True)
class Wire:
    """A body that is about to arrive. `read` gives the next bytes, none at the end, and OSError when it was cut off.

    `length` is what the publisher announced, if it did; `ends_at` the time of `Clock.now` when it must be complete.
    """

    about: str
    read: Callable[[], Awaitable[bytes]]
    length: int | None
    ends_at: float


async def arriving(wire: Wire, limits: sources.PublisherSettings, clock: Clock) -> AsyncGenerator[bytes]:
    """The bytes as they come; PublisherError when they stop, trickle, break off or take too long.

    Slow is less than 1,000 bytes a second over `stall_seconds` of waiting for the publisher: the time that our own
    disk takes does not count. Each wait is bounded by `stall_seconds`, all of it by `total_seconds`.
    """
    got, waited, lately = 0, 0.0, 0
    while True:
        began = clock.now()
        chunk = await _next(wire, got, limits, wire.ends_at - began)
        if not chunk:
            break
        got, lately, waited = got + len(chunk), lately + len(chunk), waited + clock.now() - began
        yield chunk
        if waited >= limits.stall_seconds:
            if lately < SLOWEST_BYTES_PER_SECOND * waited:
                raise PublisherError(
                    f"{wire.about} came too slowly: {lately:,} bytes in the last {waited:.3g} s, "
                    f"less than {SLOWEST_BYTES_PER_SECOND:,} a second"
                )
            waited, lately = 0.0, 0
    if wire.length is not None and got != wire.length:
        raise _broken(wire, got)


async def _next(wire: Wire, got: int, limits: sources.PublisherSettings, left: float) -> bytes:
    try:
        async with asyncio.timeout(max(0.0, min(limits.stall_seconds, left))):
            chunk = await wire.read()
    except TimeoutError:
        if left <= limits.stall_seconds:
            raise _overdue(wire, got, limits) from None
        raise PublisherError(
            f"{wire.about} fell silent for {limits.stall_seconds:g} s after {got:,} bytes{_of(wire)}"
        ) from None
    except OSError:
        raise _broken(wire, got) from None
    if left <= 0:
        raise _overdue(wire, got, limits)
    return chunk


def _overdue(wire: Wire, got: int, limits: sources.PublisherSettings) -> PublisherError:
    return PublisherError(
        f"{wire.about} was not complete after {limits.total_seconds:g} s: {got:,} bytes{_of(wire)} had come"
    )


def _broken(wire: Wire, got: int) -> PublisherError:
    return PublisherError(f"{wire.about} broke off after {got:,} bytes{_of(wire)}")


def _of(wire: Wire) -> str:
    return "" if wire.length is None else f" of {wire.length:,}"


async def checked(chunks: AsyncIterator[bytes], about: str, *, begins_with: bytes, most: int) -> AsyncGenerator[bytes]:
    """The same bytes, held back until they begin as they should, and an end as soon as they are too many."""
    size, held, begun = 0, b"", not begins_with
    async for chunk in chunks:
        size += len(chunk)
        if size > most:
            raise too_long(about, most)
        if begun:
            yield chunk
            continue
        held += chunk
        if held.startswith(begins_with):
            begun = True
            yield held
            held = b""
        elif len(held) >= max(GLANCE_BYTES, len(begins_with)):
            break
    if not begun:
        wanted = begins_with.decode("latin-1").encode("unicode_escape").decode("ascii")
        raise PublisherError(
            f"{about} is {seen(held)}, not a document that begins with '{wanted}'", outcome="wrong body"
        )


def announced(about: str, encoding: str, length: int, most: int) -> None:
    """PublisherError for an answer whose head already says that its body is not to be read.

    Nothing is ever unpacked on the way: what we keep are the publisher's bytes, and a bomb stays asleep.
    """
    if encoding.strip().lower() != "identity":
        packed = "".join(char for char in encoding[:40] if char.isprintable())
        raise PublisherError(
            f"{about} came packed ({packed}) though plain bytes were asked for: not unpacked", outcome="wrong body"
        )
    if length > most:
        raise too_long(about, most)


def too_long(about: str, most: int) -> PublisherError:
    return PublisherError(
        f"{about} is longer than {most:,} bytes, the most that its source takes; if it has really grown, "
        "raise the source's max_bytes"
    )


def seen(first: bytes) -> str:
    """What bytes seem to be, for a sentence: an HTML page by its title, a known kind of file, or their start."""
    if not first:
        return "empty"
    if _HTML.match(first.lstrip(b"\xef\xbb\xbf \t\r\n")):
        named = title(first)
        return f"an HTML page titled '{named}'" if named else "an HTML page"
    for start, kind in _KNOWN:
        if first.startswith(start):
            return kind
    return f"something that begins with {first[:16]!r}"


def title(first: bytes) -> str:
    """The title of an HTML page, on one line, cut; empty when there is none."""
    found = _TITLE.search(first[:GLANCE_BYTES].decode("utf-8", errors="replace"))
    words = html.unescape(found[1]).split() if found else []
    line = "".join(char for char in " ".join(words) if char.isprintable())
    return line if len(line) <= TITLE_LETTERS else f"{line[:TITLE_LETTERS]}…"


def text(body: bytes, charset: str, about: str) -> str:
    """A page's text: by the charset that the publisher declared, else UTF-8, else Latin-1 (which takes any byte)."""
    if not body:
        raise PublisherError(f"{about} is empty, not a page", outcome="wrong body")
    decoded = _decoded(body, charset.strip().lower())
    if _CONTROL.search(decoded[:4096]) or body.startswith(b"%PDF"):
        raise PublisherError(f"{about} is {seen(body[:GLANCE_BYTES])}, not a page of text", outcome="wrong body")
    return decoded


def _decoded(body: bytes, charset: str) -> str:
    """Only well-known charsets are followed: Python's registry also holds slow and surprising ones."""
    for name in (charset, "utf-8-sig"):
        if name == "utf-8-sig" or _CHARSET.fullmatch(name):
            try:
                return body.decode(name)
            except (UnicodeDecodeError, LookupError):
                continue
    return body.decode("latin-1")
