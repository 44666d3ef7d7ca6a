"""Numbers with their nouns, for sentences that people read. Pure functions."""

from __future__ import annotations


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 partition`, `1,234 partitions`. `plural` is the noun with an `s` unless given; a verb may follow the noun."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
