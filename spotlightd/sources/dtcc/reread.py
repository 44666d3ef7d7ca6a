"""Reads one line of a file of DTCC again, field by field, for an audit. `parse` reads whole columns by other code.

A line has no header, so the layout is known by the number of its fields. It does not tell the day of its file. An audit hands
lines as latin-1, which keeps every byte.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from spotlightd import swaps
from spotlightd.sources.dtcc import headers, layouts

_LAYOUTS = {layout.version: layout for layout in layouts.LAYOUTS}
_LAST_DAY = date(2149, 6, 6)
_FIRST_DAY = date(1970, 1, 1)


def reread(text: str, publisher: str, regime: str) -> dict[str, Any]:
    """The values of the columns that a line has, but not `report_date` and `flags`, which it does not tell."""
    printed = next(csv.reader([text.encode("latin-1").decode()]))
    version, names = headers.BY_LENGTH[len(printed)]
    fields = dict(zip(names, printed, strict=True))
    layout = _LAYOUTS[version]
    row: dict[str, Any] = {column.name: _make_empty(column.type) for column in swaps.columns}
    row |= {"publisher": publisher, "regime": regime, "schema_version": version}
    for name, candidates in layout.take.items():
        printed_text = next((fields[field] for field in candidates if fields[field]), "")
        words = layout.words.get(name)
        row[name] = words[printed_text] if words else _read_value(printed_text, swaps.column(name).type)
        if f"{name}_capped" in row:
            row[f"{name}_capped"] = printed_text.endswith("+")
    row["other"] = _list_others(fields, layout.take, row)
    del row["report_date"], row["flags"]
    return row


def _make_empty(type_name: str) -> Any:
    if type_name.startswith("Nullable("):
        return None
    if type_name.startswith(("Array(", "Map(")):
        return [] if type_name.startswith("Array(") else {}
    return False if type_name == "Bool" else ""


def _read_value(text: str, type_name: str) -> Any:
    if not text or "String" in type_name:
        return text.split(";") if text and type_name.startswith("Array(") else text or _make_empty(type_name)
    if type_name.startswith("Array(Decimal"):
        return [_read_number(item) for item in text.split(";")]
    if "Decimal" in type_name:
        return _read_number(text)
    if "Bool" in type_name:
        return text.lower() in ("true", "y")
    if "DateTime64" in type_name:
        return datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC)
    day = date.fromisoformat(text)
    return day if _FIRST_DAY <= day <= _LAST_DAY else None


def _read_number(text: str) -> Decimal:
    return Decimal(text.rstrip("+").replace(",", ""))


def _list_others(
    fields: Mapping[str, str], take: Mapping[str, Sequence[str]], row: Mapping[str, Any]
) -> dict[str, str]:
    """What fills no column: fields that no column takes, those hidden by a preferred one, and days that are too far."""
    filled = {
        next((field for field in candidates if fields[field]), candidates[0])
        for name, candidates in take.items()
        if row[name] is not None
    }
    return {name: text for name, text in fields.items() if text and name not in filled}
