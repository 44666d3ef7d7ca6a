"""Reads the sheets of a workbook (.xlsx), row by row, with the numbers that a spreadsheet shows beside them.

The library, calamine, is imported when a document is read, and never by the daemon. A workbook is a zip archive, so it is checked
like one first: calamine would unpack whatever it holds. It also takes memory for all cells up to the last one of a sheet, and
ends the process when there is too little, so the places of cells are looked at before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from spotlightd.errors import FormatError
from spotlightd.model.provenance import Body
from spotlightd.parse import zipped

MAIN_PART = "xl/workbook.xml"
MOST_SHEETS = 500
MOST_CELLS = 2_000_000
PLACE = re.compile(rb"""\br=["']([A-Z]{1,3})([0-9]{1,7})["']""")
MOST_PLACE_BYTES = 14


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet: its place in the workbook, from 0, its name, and its rows. The first row is row 1."""

    number: int
    name: str
    rows: Sequence[Sequence[Any]]


def is_workbook(body: Body) -> bool:
    with body.path.open("rb") as file:
        if file.read(2) != b"PK":
            return False
    return any(member.name == MAIN_PART for member in zipped.members(body))


def read_sheets(body: Body) -> Iterator[Sheet]:
    """All sheets. A cell is a text, a number, a day, a time, a truth or empty (""). FormatError for anything but a workbook."""
    import python_calamine  # noqa: PLC0415  (see the docstring)

    _require_sound(body)
    try:
        workbook = python_calamine.CalamineWorkbook.from_path(str(body.path))
        if len(workbook.sheet_names) > MOST_SHEETS:
            raise FormatError(f"{body.name} has {len(workbook.sheet_names)} sheets, more than {MOST_SHEETS}")
        for number, name in enumerate(workbook.sheet_names):
            yield Sheet(number, name, workbook.get_sheet_by_index(number).to_python(skip_empty_area=False))
    except python_calamine.CalamineError as problem:
        raise FormatError(f"{body.name} is a workbook that cannot be read: {str(problem)[:200]}") from problem


def _require_sound(body: Body) -> None:
    members = zipped.members(body)
    if not any(member.name == MAIN_PART for member in members):
        raise FormatError(f"{body.name} is an archive, and no workbook: it has no {MAIN_PART}")
    for member in members:
        _require_bounded(member)


def _require_bounded(member: zipped.Member) -> None:
    """FormatError for a part that unpacks to too much, or that places a cell too far away."""
    last_row, last_column, end = 1, 1, b""
    for piece in zipped.pieces(member):
        text = end + piece
        for column, row in PLACE.findall(text):
            last_row, last_column = max(last_row, int(row)), max(last_column, _column_number(column))
        if last_row * last_column > MOST_CELLS:
            raise FormatError(f"{member.name[:80]!r} places a cell so that there are more than {MOST_CELLS:,}")
        end = text[-MOST_PLACE_BYTES:]


def _column_number(letters: bytes) -> int:
    """1 for A, 27 for AA."""
    number = 0
    for letter in letters:
        number = number * 26 + letter - ord("A") + 1
    return number


def show_row(cells: Sequence[Any]) -> str:
    """A row as one line of text: its cells with tabs between them."""
    return "\t".join(map(show_cell, cells)).rstrip("\t")


def show_cell(value: Any) -> str:
    """A cell as text: a number without needless digits, a day as 2026-11-27."""
    if isinstance(value, datetime) and (value.hour or value.minute or value.second):
        return value.isoformat(" ")
    if isinstance(value, date):
        return f"{value:%Y-%m-%d}"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return " ".join(str(value).split())
