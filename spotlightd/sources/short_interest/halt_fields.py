"""What reports of halts have in common, at Nasdaq and at NYSE: required fields, and a resumption in two fields."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

from spotlightd.parse import new_york


def require_fields(fields: Mapping[str, str], *names: str) -> None:
    """ValueError when one of these is missing or empty."""
    for name in names:
        if not fields.get(name, "").strip():
            raise ValueError(f"{name} is empty")


def remove_quotes(name: str) -> str:
    """The name without quotes around the whole of it, which publishers set when it holds a comma."""
    return name[1:-1] if len(name) > 1 and name.startswith('"') and name.endswith('"') else name


def read_day(text: str, forms: tuple[str, ...]) -> date | None:
    """The day of the first form that fits; None for an empty text. ValueError when none fits."""
    return new_york.read_time(text, *forms).astimezone(new_york.NEW_YORK).date() if text else None


def read_resumption(day: str, time: str, forms: tuple[str, ...]) -> datetime | None:
    """The time of a day and a time of day; None while no time is known. ValueError for a time without a day."""
    if not time:
        return None
    if not day:
        raise ValueError(f"trading resumes at {time!r} of no day")
    return new_york.read_time(f"{day} {time}", *forms)
