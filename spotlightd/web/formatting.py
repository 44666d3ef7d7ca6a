"""Values as text for pages: numbers with separators, ISO dates, visible control characters. Pure functions."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from jinja2.filters import do_forceescape, do_mark_safe

from spotlightd.model.dataset import Column

EMPTY = "\u2013"
EXACT = 15  # significant digits: a double keeps so many of any number
CENTS = 2
_TENTHS_BELOW_SECONDS = 9.95
_DAYS_FROM_HOURS = 48
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CODE = re.compile(r"`([^`\n]+)`")


def format_number(value: float | Decimal | None, digits: int | None = None) -> str:
    """`1,234,567` or `1,234.50`; with `digits` exactly so many after the decimal point."""
    if value is None:
        return EMPTY
    if isinstance(value, float) and digits is None:
        return f"{value:,.{EXACT}g}"
    if isinstance(value, Decimal) and digits is None:
        return f"{value:,.{max(CENTS, _places(value))}f}"
    return f"{value:,}" if digits is None else f"{value:,.{digits}f}"


def _places(value: Decimal) -> int:
    """Digits after the decimal point, without trailing zeros."""
    exponent = value.normalize().as_tuple().exponent
    return -exponent if isinstance(exponent, int) and exponent < 0 else 0


def format_short(value: float | Decimal) -> str:
    """A number for the axis of a chart: 1.2M, 350k, 12."""
    size = float(value)
    for bound, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(size) >= bound:
            return f"{size / bound:.3g}{letter}"
    return f"{size:.3g}"


def show_controls(text: str) -> str:
    """Text with NUL and other control characters shown as symbols, so that none is invisible."""
    return _CONTROL.sub(lambda match: "\u2421" if match[0] == "\x7f" else chr(0x2400 + ord(match[0])), text)


def mark_code(text: str) -> str:
    """Text as HTML: escaped, then each part in backticks as `<code>`. Only for descriptions in declarations."""
    return do_mark_safe(_CODE.sub(r"<code>\1</code>", str(do_forceescape(text))))


def remove_code_marks(text: str) -> str:
    """Text without the backticks that `mark_code` replaces, for places without markup, such as tooltips."""
    return _CODE.sub(r"\1", text)


def format_instant(value: datetime | None) -> str:
    """`2021-01-27 14:30:05 UTC`: to the second, for sentences. Cells of tables have all digits."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if value else EMPTY


def format_whole_instant(value: datetime) -> str:
    """`2021-01-27 14:30:05.123456 UTC`: with all its digits, and without a fraction of zero."""
    if not value.microsecond:
        return format_instant(value)
    precision = "microseconds" if value.microsecond % 1000 else "milliseconds"
    return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(' ', precision)} UTC"


def format_cell(value: Any, column: Column | None = None) -> str:  # noqa: PLR0911
    """A value as text for a table's cell."""
    if value is None:
        return EMPTY
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float | Decimal):
        return format_number(value) if column is None or not _identifies(column) else str(value)
    if isinstance(value, datetime):
        return format_whole_instant(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return "; ".join(f"{show_controls(str(name))}: {format_cell(text)}" for name, text in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(format_cell(element, column) for element in value)
    return show_controls(str(value).rstrip("\x00"))


def _identifies(column: Column) -> bool:
    """Whether the number is an identifier: those get no thousands separators."""
    return column.name in ("id", "seq", "load_id", "supersedes", "connection")


def is_numeric(column: Column) -> bool:
    return column.kind in ("integer", "decimal", "float")


def format_size(value: int) -> str:
    """A size in bytes: 1.9 kB, 3.5 MB."""
    amount = float(value)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":  # noqa: PLR2004
            return f"{value:,} bytes" if unit == "bytes" else f"{amount:,.1f} {unit}"
        amount /= 1000
    raise AssertionError


def format_days(count: int) -> str:
    return "today" if count == 0 else f"{format_number(count)} day{'' if abs(count) == 1 else 's'}"


def format_age(seconds: float | None) -> str:
    """A duration in at most two units: 0.4 s, 12 s, 3 min 5 s, 2 h 10 min, 3 days."""
    if seconds is None:
        return EMPTY
    if seconds < _TENTHS_BELOW_SECONDS:
        return f"{max(seconds, 0.0):.1f} s"
    minutes, seconds_left = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours >= _DAYS_FROM_HOURS:
        return format_days(hours // 24)
    if hours:
        return f"{hours} h {minutes_left} min"
    return f"{minutes} min {seconds_left} s" if minutes else f"{seconds_left} s"


def make_file_name(text: str) -> str:
    """A name that is valid on every file system and in every header."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._")[:120] or "download"
