"""The first reader: tables by their ruled lines, with pdfplumber.

Cells of a page are numbered in reading order, table after table and row after row: that number is the pointer of a value.
A merged cell counts once, at its first place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from spotlightd.model.provenance import Body
from spotlightd.parse.pdf.box import Box
from spotlightd.parse.pdf.document import open_tables

HEADING_POINTS = 120.0
"""How far above a table its heading may stand: a title, a line of text and their space."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell: its number on the page, 1 for the first, its text as printed, and its place."""

    number: int
    text: str
    box: Box


Row = tuple[Cell | None, ...]
"""The cells of a row by column. None where a merged cell of another place covers it."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table on a page (1 for the first). `heading` is the text above it, on the same page."""

    page: int
    heading: str
    box: Box
    rows: tuple[Row, ...]


def read_tables(body: Body) -> Iterator[Table]:
    """All tables of the document, page by page from the top. FormatError if it cannot be read."""
    with open_tables(body) as document:
        for page in document.pages:
            yield from read_page(page)
            page.close()  # otherwise the objects of all pages stay in memory


def read_cells(body: Body, number: int) -> list[Cell]:
    """All cells of a page in reading order; none if there is no such page."""
    with open_tables(body) as document:
        pages = document.pages[number - 1 : number] if number > 0 else []
        return [cell for page in pages for table in read_page(page) for row in table.rows for cell in row if cell]


def read_page(page: Any) -> list[Table]:
    """The tables of a pdfplumber page."""
    found = sorted(page.find_tables(), key=lambda table: (table.bbox[1], table.bbox[0]))
    tables, number, above = list[Table](), 1, 0.0
    for table in found:
        rows, number = _read_rows(table, number)
        box = Box(*table.bbox)
        tables.append(Table(page.page_number, _read_heading(page, box, above), box, rows))
        above = box.bottom
    return tables


def _read_rows(table: Any, number: int) -> tuple[tuple[Row, ...], int]:
    """The rows of a table whose first cell has that number, and the number after its last cell."""
    rows = list[Row]()
    for places, texts in zip(table.rows, table.extract(), strict=True):
        row = list[Cell | None]()
        for place, text in zip(places.cells, texts, strict=True):
            row.append(Cell(number, " ".join((text or "").split()), Box(*place)) if place else None)
            number += place is not None
        rows.append(tuple(row))
    return tuple(rows), number


def _read_heading(page: Any, box: Box, above: float) -> str:
    """The text between the table before it, or the top of the page, and the table. Letters hang a little over their line."""
    top = max(above, box.top - HEADING_POINTS)
    own = page.filter(lambda item: "text" in item and top <= (item["top"] + item["bottom"]) / 2 <= box.top)
    return " ".join(own.extract_text().split())
