"""Texts of a listener for people: what a venue says, and times."""

from __future__ import annotations

from datetime import UTC, datetime

DETAIL_LETTERS = 300


def clean_text(text: str, key: str) -> str:
    """A venue's text on one line, of bounded length, and without our key in case the venue repeats it."""
    text = text.replace(key, "…") if key else text
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:DETAIL_LETTERS]


def format_time(nanoseconds: int) -> str:
    """A time in nanoseconds since 1970, to the second."""
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
