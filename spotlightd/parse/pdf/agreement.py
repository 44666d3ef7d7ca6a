"""Compares what two independent readers found in the same tables, cell by cell.

The first reader (`tables`) decides which rows are there. The second one (`words`) must find as many rows of data on the
page, and the same text in each cell. Two readers of one page can be wrong in the same way only if the page says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from spotlightd.parse.pdf.tables import Row
from spotlightd.parse.pdf.words import Line, read_lines, to_grid

_SPACES = re.compile(r"\s+")
Differences = Mapping[int, str]
"""By the number of a cell: what the second reader found there."""


def find_differences(page: Any, tables: Sequence[Sequence[Row]], begins_row: re.Pattern[str]) -> Differences:
    """The cells of one page on which the readers differ. `tables` are the rows of data of each table of the page, from the
    top. `page` is the pypdfium2 page; a line of it is a row of data when its first phrase matches `begins_row`.

    When the readers differ in the number of rows, every cell of the page is a difference.
    """
    lines = [line for line in read_lines(page) if begins_row.match(line[0].text)]
    count = sum(map(len, tables))
    if len(lines) != count:
        sentence = f"a page with {len(lines)} rows, where the first reader found {count}"
        return {cell.number: sentence for rows in tables for row in rows for cell in row if cell}
    differences = dict[int, str]()
    for rows in tables:
        own, lines = lines[: len(rows)], lines[len(rows) :]
        differences |= _compare_table(rows, own)
    return differences


def _compare_table(rows: Sequence[Row], lines: Sequence[Line]) -> Differences:
    """The second reader cannot see a column without any text, so those of the first one are left out."""
    filled = [index for index in range(max(map(len, rows), default=0)) if any(_text_at(row, index) for row in rows)]
    differences = dict[int, str]()
    for row, texts in zip(rows, to_grid(lines), strict=True):
        cells = [row[index] if index < len(row) else None for index in filled]
        if len(cells) != len(texts):
            differences |= {cell.number: " | ".join(texts) for cell in row if cell}
            continue
        differences |= {
            cell.number: text
            for cell, text in zip(cells, texts, strict=True)
            if cell and _SPACES.sub("", cell.text) != _SPACES.sub("", text)  # the first reader joins lines of a cell
        }
    return differences


def _text_at(row: Row, index: int) -> str:
    cell = row[index] if index < len(row) else None
    return cell.text if cell else ""
