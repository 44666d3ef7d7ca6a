"""A frame as people can read it: JSON laid out over lines, other text as it is, bytes in hexadecimal. Pure.

JSON is laid out by its tokens and never written anew, so that no digit of a number changes on the way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from spotlightd.web.show import visible

MOST_BYTES = 64 << 10  # of a frame that are looked at
MOST_CHARACTERS = 8_000
HEX_BYTES = 512
INLINE = 100
_DEEPEST = 40
_OPEN, _CLOSE = frozenset("{["), frozenset("}]")
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},:]|[^\s\[\]{},:"]+')


@dataclass(frozen=True, slots=True)
class Readable:
    """`size` is the whole frame's, in bytes; `cut`: the text is only its beginning."""

    text: str
    kind: Literal["JSON", "text", "bytes"]
    size: int
    cut: bool = False


def readable(value: bytes, size: int | None = None) -> Readable:
    """The frame for a page. `size` is its length when `value` is only the beginning of it."""
    whole = len(value) if size is None else size
    value, partial = value[:MOST_BYTES], whole > min(len(value), MOST_BYTES)
    text = _decoded(value, partial=partial)
    if text is None:
        return Readable(value[:HEX_BYTES].hex(" ", 1), "bytes", whole, whole > HEX_BYTES)
    kind: Literal["JSON", "text"] = "JSON" if not partial and _is_json(text) else "text"
    if kind == "JSON":
        text = laid_out(text)
    shown = "\n".join(visible(line) for line in text[:MOST_CHARACTERS].split("\n"))
    return Readable(shown, kind, whole, partial or len(text) > MOST_CHARACTERS)


def _decoded(value: bytes, *, partial: bool) -> str | None:
    """The text, or None when the bytes are none. Of a cut frame the last character may be broken."""
    try:
        return value.decode()
    except UnicodeDecodeError as problem:
        if partial and problem.start > len(value) - 4:
            return value[: problem.start].decode()
        return None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def laid_out(text: str) -> str:
    """JSON over several lines, every token as it was. An object or a list that fits a line stands on one."""
    words = _TOKEN.findall(text)
    short = _short(words)
    lines, line, depth, at = list[str](), "", 0, 0
    while at < len(words):
        word = words[at]
        if at in short:
            line += _joined(words[at : short[at] + 1])
            at = short[at]
        elif word in _OPEN or word == ",":
            depth += word in _OPEN
            lines.append(line + word)
            line = _indent(depth)
        elif word in _CLOSE:
            depth -= 1
            lines.append(line)
            line = _indent(depth) + word
        else:
            line += ": " if word == ":" else word
        at += 1
    return "\n".join([*lines, line])


def _indent(depth: int) -> str:
    return "  " * min(depth, _DEEPEST)


def _short(words: Sequence[str]) -> dict[int, int]:
    """Where objects and lists begin that fit a line, and where they end."""
    found, begun, length = dict[int, int](), list[tuple[int, int]](), 0
    for at, word in enumerate(words):
        if word in _OPEN:
            begun.append((at, length))
        length += len(word)
        if word in _CLOSE and begun:
            first, before = begun.pop()
            if length - before <= INLINE:
                found[first] = at
    return found


def _joined(tokens: Sequence[str]) -> str:
    return "".join({",": ", ", ":": ": "}.get(word, word) for word in tokens)
