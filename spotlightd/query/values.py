"""Conversion between the text of an address and the value of a column, in both directions.

Only a value that went through `canonical` reaches a query, as a bound parameter of the column's own type. Nothing else
from a reader does.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

from spotlightd.model.dataset import Column

MOST_CHARACTERS = 500
_INTEGER = re.compile(r"(U?)Int(\d+)")
_DECIMAL = re.compile(r"Decimal\((\d+), ?(\d+)\)")
_FIXED = re.compile(r"FixedString\((\d+)\)")
_DATES = (date(1970, 1, 1), date(2149, 6, 6))
_TIMES = (datetime(1900, 1, 1, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC))


def bound_type(column: Column) -> str:
    """The ClickHouse type of a parameter that is compared with the column, with an element of a list or a name of a map."""
    if column.kind == "map":
        return "String"
    inner = column.type
    for wrap in ("LowCardinality(", "Nullable(", "Array("):
        if inner.startswith(wrap):
            inner = inner.removeprefix(wrap).removesuffix(")")
    return "String" if inner.startswith("FixedString") else inner


def element_column(column: Column) -> Column:
    """The elements of a list, or the names of a map, as a column; any other column as it is."""
    return Column(column.name, bound_type(column), column.meaning) if column.kind in ("list", "map") else column


def canonical(column: Column, text: str) -> str:
    """The text of a value as it is bound. ValueError with a sentence when the column cannot have that value."""
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"at most {MOST_CHARACTERS} characters")
    kinds = {"integer": _integer, "decimal": _decimal, "float": _float, "date": _date, "time": _time, "bool": _bool}
    return kinds.get(column.kind, _text)(column, text)


def _integer(column: Column, text: str) -> str:
    match = _INTEGER.search(column.type)
    assert match  # noqa: S101  # kind and type come from the same declaration
    if not re.fullmatch(r"-?[0-9]{1,20}", text.strip()):
        raise ValueError(f"{text!r} is not a whole number")
    bits = int(match[2])
    low, high = (0, 2**bits - 1) if match[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if not low <= int(text) <= high:
        raise ValueError(f"{text} is outside of {low} to {high}")
    return str(int(text))


def _decimal(column: Column, text: str) -> str:
    match = _DECIMAL.search(column.type)
    assert match  # noqa: S101  # kind and type come from the same declaration
    digits, scale = int(match[1]), int(match[2])
    if not re.fullmatch(r"-?[0-9]{1,60}(\.[0-9]{0,60})?", text.strip()):
        raise ValueError(f"{text!r} is not a number like 12.5")
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a number like 12.5") from None
    if number and (number.adjusted() >= digits - scale or Decimal(number).normalize().as_tuple().exponent < -scale):  # type: ignore[operator]
        raise ValueError(f"{text} has more than {digits - scale} digits before or {scale} after the point")
    return f"{number:f}"


def _float(_: Column, text: str) -> str:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number like 12.5") from None
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not a finite number")
    return repr(number)


def _date(_: Column, text: str) -> str:
    try:
        day = date.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is not a date like 2021-01-27") from None
    if not _DATES[0] <= day <= _DATES[1]:
        raise ValueError(f"{day} is outside of {_DATES[0]} to {_DATES[1]}")
    return day.isoformat()


def _time(_: Column, text: str) -> str:
    return f"{parse_moment(text):%Y-%m-%d %H:%M:%S.%f}"


def parse_moment(text: str, *, end_of_day: bool = False) -> datetime:
    """An RFC 3339 time; for a day its first or its last moment. ValueError with a sentence."""
    text = text.strip()
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            edge = time(23, 59, 59, 999_999) if end_of_day else time()
            moment = datetime.combine(date.fromisoformat(text), edge, UTC)
        else:
            moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a date like 2021-01-27 or a time like 2021-01-27T14:30:00Z") from None
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone: write Z for UTC, as in 2021-01-27T14:30:00Z")
    if not _TIMES[0] <= moment <= _TIMES[1]:
        raise ValueError(f"{text!r} is outside of the years {_TIMES[0].year} to {_TIMES[1].year - 1}")
    return moment.astimezone(UTC)


def _bool(_: Column, text: str) -> str:
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text


def _text(column: Column, text: str) -> str:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError("is not text that UTF-8 can hold") from None
    if "UUID" in column.type:
        try:
            return str(UUID(text))
        except ValueError:
            raise ValueError(f"{text!r} is not a UUID") from None
    if (match := _FIXED.search(column.type)) and size > int(match[1]):
        raise ValueError(f"{text!r} is longer than {match[1]} characters")
    return text


def to_text(value: Any) -> str | None:
    """A value of an answer as a text that `canonical` accepts; None for null and for not-a-number."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat() if isinstance(value, date) else str(value)


def rfc3339(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def format_address(path: str | tuple[str, ...], pairs: Any = (), **more: Any) -> str:
    """A relative address. `path` is a path or its segments; a slash within a segment is quoted.

    All of `pairs` are parameters; of `more` the empty ones are left out.
    """
    text = quote(path, safe="/,~@:.") if isinstance(path, str) else "".join(f"/{quote(p, safe=',~@:.')}" for p in path)
    parameters = [*(pairs.items() if isinstance(pairs, dict) else pairs)]
    parameters += [(name, value) for name, value in more.items() if value not in (None, "")]
    query = urlencode([(name, str(value)) for name, value in parameters], safe=",:")
    return text + (f"?{query}" if query else "")
