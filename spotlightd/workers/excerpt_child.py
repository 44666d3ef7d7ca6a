"""The child process that reads the lines around a line of a document, or the cells around a cell of a PDF. It answers one
request and ends.

A user may ask for any line of any document, and documents are untrusted. Therefore neither the daemon nor the parser
child opens the archive. The limits are those of the parser; threads it needs none.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spotlightd.errors import FormatError
from spotlightd.model.provenance import Body
from spotlightd.parse import lines, workbook, zipped
from spotlightd.parse.pdf import document, picture, tables
from spotlightd.settings.sources import ParserSettings
from spotlightd.workers.child_setup import answer_once

MOST_CHARACTERS = 4_000


def read_excerpt(body: Body, member: int, line: int, around: int) -> tuple[str, list[tuple[int, str]]]:
    """The name of the member (empty when the document is no archive) and the lines from line-around to line+around."""
    first, last = max(1, line - around), line + around
    if workbook.is_workbook(body):
        name, excerpt = _read_rows(body, member, first, last)
    else:
        name, excerpt = _read_lines(body, member, first, last)
    if not any(number == line for number, _ in excerpt):
        raise FormatError(f"{body.name} has no line {line} in member {member}", member=member, line=line)
    return name, excerpt


def _read_rows(body: Body, number: int, first: int, last: int) -> tuple[str, list[tuple[int, str]]]:
    """Rows of a sheet of a workbook, each as a line."""
    sheet = next((sheet for sheet in workbook.read_sheets(body) if sheet.number == number), None)
    if sheet is None:
        raise FormatError(f"{body.name} has no sheet {number}", member=number)
    rows = enumerate(sheet.rows[first - 1 : last], first)
    return sheet.name, [(line, workbook.show_row(cells)[:MOST_CHARACTERS]) for line, cells in rows]


def _read_lines(body: Body, member: int, first: int, last: int) -> tuple[str, list[tuple[int, str]]]:
    name, pieces = _open_member(body, member)
    excerpt: list[tuple[int, str]] = []
    for block in lines.read_blocks(pieces, "latin-1", member=member):
        if block.first + block.count <= first:
            continue
        texts = block.text.decode().split("\n")
        wanted = range(max(first, block.first), min(last + 1, block.first + block.count))
        excerpt += [(number, texts[number - block.first][:MOST_CHARACTERS]) for number in wanted]
        if block.first + block.count > last:
            break
    return name, excerpt


def _open_member(body: Body, index: int) -> tuple[str, Iterator[bytes]]:
    if not zipped.is_archive(body.path):
        return "", lines.read_file(body.path)
    members = zipped.members(body)
    if index >= len(members):
        raise FormatError(f"{body.name} holds {len(members)} files, so there is no member {index}", member=index)
    return members[index].name, zipped.pieces(members[index])


def read_page(body: Body, page: int, cell: int, around: int, *, with_picture: bool) -> dict[str, Any]:
    """The cells of that page of a PDF from cell-around to cell+around, and the page as a picture if it is asked for."""
    cells = tables.read_cells(body, page)
    wanted = next((found for found in cells if found.number == cell), None)
    if wanted is None:
        raise FormatError(f"{body.name} has no cell {cell} on page {page}", member=page, line=cell)
    near = [(found.number, found.text[:MOST_CHARACTERS]) for found in cells if abs(found.number - cell) <= around]
    png = picture.draw_cell(body, page, wanted.box) if with_picture else b""
    return {"name": "", "lines": near, "is_page": True, "picture": base64.b64encode(png).decode()}


def answer_request(request: dict[str, Any]) -> dict[str, Any]:
    body = Body(Path(request["path"]), request["name"], ParserSettings(**request["limits"]))
    member, line, around = request["member"], request["line"], request["around"]
    if document.is_pdf(body):
        return read_page(body, member, line, around, with_picture=request["with_picture"])
    name, excerpt = read_excerpt(body, member, line, around)
    return {"name": name, "lines": excerpt, "is_page": False, "picture": ""}


run = answer_once(answer_request)
