"""The bytes of a frame as text for a page: JSON laid out over lines, other text as it is, or hexadecimal. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from spotlightd.web.formatting import show_controls

MOST_BYTES = 64 << 10  # only so much of a frame is read
MOST_CHARACTERS = 8_000
HEX_BYTES = 512
INLINE = 100  # characters: shorter objects and lists are on one line
_DEEPEST = 40
_OPEN, _CLOSE = frozenset("{["), frozenset("}]")
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},:]|[^\s\[\]{},:"]+')


@dataclass(frozen=True, slots=True)
class Readable:
    """A frame as text. `size` is that of the whole frame in bytes; with `cut` the text is only its beginning."""

    text: str
    kind: Literal["JSON", "text", "bytes"]
    size: int
    cut: bool = False


def make_readable(value: bytes, size: int | None = None) -> Readable:
    """The frame for a page. `size` is its length when `value` is only its beginning."""
    full_size = len(value) if size is None else size
    value, is_partial = value[:MOST_BYTES], full_size > min(len(value), MOST_BYTES)
    text = _decode(value, is_partial=is_partial)
    if text is None:
        return Readable(value[:HEX_BYTES].hex(" ", 1), "bytes", full_size, full_size > HEX_BYTES)
    kind: Literal["JSON", "text"] = "JSON" if not is_partial and _is_json(text) else "text"
    if kind == "JSON":
        text = lay_out_json(text)
    lines = (show_controls(line) for line in text[:MOST_CHARACTERS].split("\n"))
    return Readable("\n".join(lines), kind, full_size, is_partial or len(text) > MOST_CHARACTERS)


def _decode(value: bytes, *, is_partial: bool) -> str | None:
    """The text, or None when the bytes are not UTF-8. The last character of a partial frame may be incomplete."""
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        if is_partial and error.start > len(value) - 4:
            return value[: error.start].decode()
        return None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def lay_out_json(text: str) -> str:
    """JSON over several lines, every token unchanged. An object or a list that fits a line stays on one."""
    lexemes = _TOKEN.findall(text)
    short_spans = _short_spans(lexemes)
    lines, line, depth, index = list[str](), "", 0, 0
    while index < len(lexemes):
        lexeme = lexemes[index]
        if index in short_spans:
            line += _join(lexemes[index : short_spans[index] + 1])
            index = short_spans[index]
        elif lexeme in _OPEN or lexeme == ",":
            depth += lexeme in _OPEN
            lines.append(line + lexeme)
            line = _indent(depth)
        elif lexeme in _CLOSE:
            depth -= 1
            lines.append(line)
            line = _indent(depth) + lexeme
        else:
            line += ": " if lexeme == ":" else lexeme
        index += 1
    return "\n".join([*lines, line])


def _indent(depth: int) -> str:
    return "  " * min(depth, _DEEPEST)


def _short_spans(lexemes: Sequence[str]) -> dict[int, int]:
    """First and last token of the objects and lists that fit a line."""
    spans, open_brackets, length = dict[int, int](), list[tuple[int, int]](), 0
    for index, lexeme in enumerate(lexemes):
        if lexeme in _OPEN:
            open_brackets.append((index, length))
        length += len(lexeme)
        if lexeme in _CLOSE and open_brackets:
            first, length_before = open_brackets.pop()
            if length - length_before <= INLINE:
                spans[first] = index
    return spans


def _join(lexemes: Sequence[str]) -> str:
    return "".join({",": ", ", ":": ": "}.get(lexeme, lexeme) for lexeme in lexemes)
