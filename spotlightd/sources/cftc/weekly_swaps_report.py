"""The CFTC's weekly swaps report: a workbook of some 50 sheets, for the week that ended the Friday two and a half weeks before.

Links are taken from the archive page by file name only (`CFTC_Swaps_Report_11_16_2026.xlsx`): the folder is that of the month in
which a file was put there, and older paths differ. The day in the name is the edition's, mostly a Monday; a holiday moves it, so
an edition covers its week. Editions of October and November 2025 came weeks late. There are none from 2018-12-22 to 2019-01-26 and
from 2024-01-26 to 2024-08-16.

No workbook was seen. What public readers say of the tables is this: units are millions of dollars, there are five columns of weeks,
cells can be `N/A`, and tables by participant count twice on purpose. So nothing is read by its place:
- A row with at least two days in it heads a table, and its days head the columns of weeks.
- Texts above it are the title, with the unit. A row with a text and no figure is the heading of a section.
- A row with figures below no such head, or with a text where a figure is due, is a reject.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from spotlightd import Batch, Body, Expected, FormatError, Link, OutsideRows, Pages, Reject, Rows, swaps_report
from spotlightd.parse import columns, html, workbook

INDEX = "https://www.cftc.gov/MarketReports/SwapsReports/Archive/index.htm"
NAME = r"(?i)CFTC_Swaps_Report_(?P<month>\d{1,2})_(?P<day>\d{1,2})_(?P<year>20\d\d)(?:_\d{1,2})?\.xlsx$"
LEAST_WEEKS = 2
WEEK_FORMS = ("%m/%d/%Y", "%B %d, %Y", "%b %d, %Y", "%Y-%m-%d")
UNKNOWN = frozenset({"N/A", "NA", "-"})
FIGURE = re.compile(r"-?(?:\d+|\d{1,3}(?:,\d{3})+)(?:\.\d{1,12})?")


async def discover(pages: Pages) -> AsyncIterator[Link]:
    for anchor in html.links(await pages.page(INDEX), INDEX, NAME):
        day = _read_day(anchor.match)
        yield Link(anchor.url, _cover(day), day, day)


def parse(body: Body) -> Iterator[Rows | Reject]:
    match = re.search(NAME, body.name)
    if match is None:
        raise FormatError(f"{body.name} has no day in its name")
    edition, has_table = _read_day(match), False
    for sheet in workbook.read_sheets(body):
        table = _Table(sheet)
        rejects = list(table.read())
        has_table = has_table or bool(table.weeks)
        yield from rejects
        if table.figures:
            yield _make_rows(edition, sheet, table.figures)
    if not has_table:
        raise FormatError(f"{body.name} has no table: no row of any sheet has {LEAST_WEEKS} days in it")


def expected(day: date) -> Expected:
    """The edition of two weeks ago."""
    return Expected(_cover(day - timedelta(days=14)), day)


@dataclass(slots=True)
class _Table:
    """The table of a sheet that is being read, from its top. A sheet can have several, one below the other."""

    sheet: workbook.Sheet
    weeks: Mapping[int, date] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    title: str = ""
    section: str = ""
    figures: list[dict[str, Any]] = field(default_factory=list)

    def read(self) -> Iterator[Reject]:
        for number, cells in enumerate(self.sheet.rows, 1):
            weeks = {place: week for place, cell in enumerate(cells) if (week := _read_week(cell))}
            if len(weeks) >= LEAST_WEEKS:
                self.weeks, self.title, self.section, self.texts = weeks, "; ".join(self.texts), "", []
            elif problem := self._read_row(number, cells):
                yield Reject(self.sheet.number, number, workbook.show_row(cells), problem)

    def _read_row(self, number: int, cells: Sequence[Any]) -> str:
        """Take the figures of a row; returns what is wrong with it."""
        figures = {place: cell for place, cell in enumerate(cells) if place in self.weeks and cell != ""}
        label = " ".join(
            workbook.show_cell(cell) for place, cell in enumerate(cells) if cell != "" and place not in self.weeks
        )
        if not figures:
            if any(isinstance(cell, int | float) for cell in cells):
                return "it has figures, and no row above it says of which weeks"
            self.texts += [label] if label else []
            self.section = label or self.section
            return ""
        if not label:
            return "it has figures and no text that says what they are of"
        try:
            self.figures += [
                {"section": self.section, "title": self.title, "item": label, "row": number, "line": number,
                 "week": self.weeks[place], "value": _read_figure(cell), "printed": workbook.show_cell(cell)}
                for place, cell in figures.items()
            ]  # fmt: skip
        except ValueError as problem:
            return str(problem)
        return ""


def _make_rows(edition: date, sheet: workbook.Sheet, figures: Sequence[Mapping[str, Any]]) -> Rows:
    shared = {"edition": edition, "sheet": sheet.name, "member": sheet.number}
    schema = columns.parsed_schema(swaps_report)
    batch = pa.RecordBatch.from_pylist([{**shared, **figure} for figure in figures], schema=schema)
    return Rows(swaps_report, batch, lambda numbers: [workbook.show_row(sheet.rows[number - 1]) for number in numbers])


def _read_week(cell: Any) -> date | None:
    if isinstance(cell, datetime):
        return cell.date()
    if isinstance(cell, date) or not isinstance(cell, str):
        return cell if isinstance(cell, date) else None
    for form in WEEK_FORMS:
        try:
            return datetime.strptime(cell.strip(), form).date()  # noqa: DTZ007  # only its day is used
        except ValueError:
            continue
    return None


def _read_figure(cell: Any) -> Decimal | None:
    """The figure in a cell; None where the report says that there is none. ValueError for anything else."""
    text = str(cell).strip() if isinstance(cell, str | int | float) and not isinstance(cell, bool) else ""
    if text.upper() in UNKNOWN:
        return None
    if not FIGURE.fullmatch(text):
        raise ValueError(f"{workbook.show_cell(cell)[:80]!r} is no figure")
    return Decimal(text.replace(",", ""))


def _read_day(match: re.Match[str]) -> date:
    try:
        return date(int(match["year"]), int(match["month"]), int(match["day"]))
    except ValueError:
        raise FormatError(f"{match[0]} names no day of the calendar") from None


def _cover(day: date) -> str:
    year, week, _ = day.isocalendar()
    return f"{year}/w{week:02}"


source = Batch(
    name="cftc_swaps_report",
    title="CFTC weekly swaps report",
    home=INDEX,
    datasets=(swaps_report,),
    discover=discover,
    parse=parse,
    parser="1",
    hosts=("www.cftc.gov",),
    begins_with=b"PK",
    least_links=20,  # there are 52 of 2025 alone
    cron="10 1,21 * * *",
    expected=expected,
    outside=OutsideRows.REFUSE,
    rejects_allowed=0.02,
    max_bytes=32 << 20,
    requests_per_second=1.0,
)
