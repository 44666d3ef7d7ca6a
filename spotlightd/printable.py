"""Text of others on a terminal: control characters are shown as escapes, so that none moves the cursor or hides a word."""

from __future__ import annotations

import codecs
import re
from typing import Any, TextIO

LINES = "\n\t"
_JSON_HIDDEN = re.compile(r"[\x7f-\xa0\xad\u061c\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufff9-\ufffb]")


def escape_text(text: str, keep: str = "") -> str:
    """Text with an escape for each character that is not printable, such as ESC, except those in `keep`."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode() for char in text
    )


def escape_json(text: str) -> str:
    """JSON of the same value. JSON itself escapes only the first 32 characters."""
    return _JSON_HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def escape_values(value: Any) -> Any:
    """The value, with escapes in its texts; their lines are kept."""
    if isinstance(value, str):
        return escape_text(value, LINES)
    if isinstance(value, dict):
        return {escape_values(name): escape_values(item) for name, item in value.items()}
    return [escape_values(item) for item in value] if isinstance(value, list | tuple) else value


class TerminalFile:
    """A binary file for text that goes to a terminal. A character may be split between two writes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def write(self, data: bytes) -> int:
        self._out.write(escape_text(self._decoder.decode(data), LINES))
        return len(data)

    def flush(self) -> None:
        self._out.flush()
