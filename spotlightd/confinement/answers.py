"""Reads what a confined child answers. Code that somebody managed to run in the child may have written it, so these are
foreign bytes as well: the depth is known before they are decoded, and type and range of each field before it is used.

Whatever is wrong is a ValueError.
"""

from __future__ import annotations

import json
import re
from typing import Any

MOST_DEPTH = 8  # a row among the rows of a dataset of an answer is at 4
MOST_VALUES = 1_000_000
LARGEST = (1 << 63) - 1
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_INNERMOST = re.compile(rb"[\[{][^\[\]{}]*[\]}]")


def decode_json(text: bytes) -> Any:
    """The value. Deeper nesting than that would exhaust the stack, or the patience of what walks through it; and each of very
    many values takes more memory than its text.
    """
    rest = _STRING.sub(b"", text)
    if rest.count(b",") >= MOST_VALUES:
        raise ValueError(f"it has more than {MOST_VALUES:,} values")
    for _ in range(MOST_DEPTH):
        rest = _INNERMOST.sub(b"", rest)
    if b"[" in rest or b"{" in rest:
        raise ValueError(f"its values are nested more than {MOST_DEPTH} deep, or not closed")
    return json.loads(text)


def read_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _make_error("an object", value)
    return value


def read_fields(value: Any, *names: str) -> tuple[Any, ...]:
    """The fields of an object, which has exactly these."""
    if set(read_object(value)) != set(names):
        raise _make_error(f"an object with the fields {', '.join(names)}", value)
    return tuple(value[name] for name in names)


def read_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _make_error("a list", value)
    return value


def read_flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _make_error("true or false", value)
    return value


def read_number(value: Any, most: int = LARGEST, least: int = 0) -> int:
    """A whole number in that range."""
    if type(value) is not int or not least <= value <= most:
        raise _make_error(f"a number from {least} to {most}", value)
    return value


def read_text(value: Any, most: int = LARGEST) -> str:
    """A text of at most so many characters, which can be stored: half a pair of surrogates cannot."""
    if not isinstance(value, str) or len(value) > most or not (value.isascii() or value.encode()):
        raise _make_error(f"a text of at most {most} characters", value)
    return value


def _make_error(expected: str, value: Any) -> ValueError:
    return ValueError(f"{expected} is expected, not {repr(value)[:80]}")
