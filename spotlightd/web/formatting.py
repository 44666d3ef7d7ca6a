"""How values look on a page: tabular numbers with separators, ISO dates, controls made visible. Pure."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from spotlightd.model.dataset import Column

EMPTY = "\u2013"
EXACT = 15  # significant digits: what a double keeps of any number
CENTS = 2
_SECONDS_SHOWN_FINE = 9.95
_HOURS_AS_DAYS = 48
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def number(value: float | Decimal | None, digits: int | None = None) -> str:
    """`1,234,567` or `1,234.50`; with `digits` exactly so many behind the point."""
    if value is None:
        return EMPTY
    if isinstance(value, float) and digits is None:
        return f"{value:,.{EXACT}g}"
    if isinstance(value, Decimal) and digits is None:
        return f"{value:,.{max(CENTS, _places(value))}f}"
    return f"{value:,}" if digits is None else f"{value:,.{digits}f}"


def _places(value: Decimal) -> int:
    """Digits behind the point that say something."""
    exponent = value.normalize().as_tuple().exponent
    return -exponent if isinstance(exponent, int) and exponent < 0 else 0


def short(value: float | Decimal) -> str:
    """A number for the side of a chart: 1.2M, 350k, 12."""
    size = float(value)
    for bound, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(size) >= bound:
            return f"{size / bound:.3g}{letter}"
    return f"{size:.3g}"


def visible(text: str) -> str:
    """Text with NULs and other controls as their pictures, so that nothing hides."""
    return _CONTROL.sub(lambda found: "\u2421" if found[0] == "\x7f" else chr(0x2400 + ord(found[0])), text)


def instant(value: datetime | None) -> str:
    """`2021-01-27 14:30:05 UTC`: to the second; files and JSON have the rest."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if value else EMPTY


def _to_the_millisecond(value: datetime) -> str:
    """`2021-01-27 14:30:05.123 UTC`, or to the second when it is a whole one."""
    return (
        instant(value) if not value.microsecond else f"{value.astimezone(UTC).isoformat(' ', 'milliseconds')[:23]} UTC"
    )


def cell(value: Any, column: Column | None = None) -> str:  # noqa: PLR0911
    """A value as text for a table's cell."""
    if value is None:
        return EMPTY
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float | Decimal):
        return number(value) if column is None or not _identifies(column) else str(value)
    if isinstance(value, datetime):
        return _to_the_millisecond(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return ", ".join(cell(one, column) for one in value)
    return visible(str(value).rstrip("\x00"))


def _identifies(column: Column) -> bool:
    """Numbers that name something are not grouped in thousands."""
    return column.name in ("id", "seq", "load_id", "supersedes", "connection")


def numeric(column: Column) -> bool:
    return column.kind in ("integer", "decimal", "float")


def size(value: int) -> str:
    """Bytes for people: 1.9 kB, 3.5 MB."""
    amount = float(value)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":  # noqa: PLR2004
            return f"{value:,} bytes" if unit == "bytes" else f"{amount:,.1f} {unit}"
        amount /= 1000
    raise AssertionError


def days(count: int) -> str:
    return "today" if count == 0 else f"{number(count)} day{'' if abs(count) == 1 else 's'}"


def age(seconds: float | None) -> str:
    """How long ago, in two units at most: 0.4 s, 12 s, 3 min 5 s, 2 h 10 min, 3 days."""
    if seconds is None:
        return EMPTY
    if seconds < _SECONDS_SHOWN_FINE:
        return f"{max(seconds, 0.0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    if hours >= _HOURS_AS_DAYS:
        return days(hours // 24)
    if hours:
        return f"{hours} h {left} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def file_name(text: str) -> str:
    """A name that every file system and header takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._")[:120] or "download"
