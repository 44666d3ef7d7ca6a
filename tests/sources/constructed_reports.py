"""Makes constructed monthly updates of the audit trail: no real report could be had. Each layout shows one thing that a
report may do, by the description of a program that reads the real ones.

The numbers follow from day, product and column (`rate`, `count`), so a test knows what each cell must hold. `python -m tests.sources.constructed_reports` writes those of the
demo.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from io import BytesIO
from typing import Any

from reportlab.lib import colors
from reportlab.lib.pagesizes import landscape, letter
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.platypus import Image, PageBreak, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from spotlightd.demo.publisher import DATA

NAME = "03.26.26-Monthly-CAT-Update.pdf"
PRODUCTS = ("Equities", "Options")
STAGED = ("Rejection", "Intrafirm", "Interfirm Sent", "Interfirm Received", "Exchange", "Trade", "Overall Error Rate")
COUNTED = ("Processed", "Accepted", "Late", "Overall Errors")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a report is laid out."""

    days: int = 5
    first: date = date(2026, 2, 2)
    is_later: bool = False  # a later report of the same days: more was corrected since
    slides: int = 2  # pages of text before the tables
    is_merged: bool = True  # two rows of header, the first one spans two columns
    write_day: Callable[[date], str] = lambda day: f"{day:%m/%d/%Y}"
    repeats_header: bool = True  # on each page of a table that is broken over pages
    rows_a_page: int = 30
    adjusted: str = ""  # printed instead of every adjusted rate


def rate(day: date, product: str, column: int) -> Decimal:
    return Decimal((day.toordinal() * 7 + len(product) * 11 + column * 13) % 997) / 100


def count(day: date, product: str, column: int) -> int:
    return (day.toordinal() * 104_729 + len(product) * 7_919 + column * 1_299_709) % 10**9


def days(layout: Layout) -> list[date]:
    """Weekdays."""
    later = (layout.first + timedelta(days=number) for number in range(layout.days * 2))
    return [day for day in later if day.weekday() < 5][: layout.days]


def make_report(layout: Layout = Layout()) -> bytes:
    """A report of four tables: rates of equities and options, then counts of both."""
    story: list[Any] = []
    heading, text = getSampleStyleSheet()["Title"], getSampleStyleSheet()["Normal"]
    for slide in range(layout.slides):
        story += [
            Paragraph(f"Constructed slide {slide + 1}", heading),
            Paragraph("Agenda, late fees, contacts", text),
            PageBreak(),
        ]
    for title, make_table in (("Rolling Error Rates", make_rates), ("Record Counts", make_counts)):
        for product in PRODUCTS:
            story += _make_pages(Paragraph(f"{title}: {product}", heading), make_table(layout, product), layout)
    return build(story)


def _make_pages(heading: Paragraph, rows: Sequence[Sequence[str]], layout: Layout) -> list[Any]:
    """A table on as many pages as it needs. Only the first one has the heading."""
    lines = 2 if layout.is_merged and rows[0][1] == "Late" else 1
    header, body = list(rows[:lines]), rows[lines:]
    story: list[Any] = [heading, Spacer(1, 12)]
    for start in range(0, len(body), layout.rows_a_page):
        own = header if start == 0 or layout.repeats_header else []
        story += [Table([*own, *body[start : start + layout.rows_a_page]], style=_style(own)), PageBreak()]
    return story


def _style(header: Sequence[Sequence[str]]) -> TableStyle:
    style: list[tuple[Any, ...]] = [("GRID", (0, 0), (-1, -1), 0.5, colors.grey), ("FONTSIZE", (0, 0), (-1, -1), 6)]
    if len(header) == 2:
        spans = [(column, column + 1) for column in range(2, len(header[0]), 2)]
        style += [("SPAN", (first, 0), (last, 0)) for first, last in spans]
        style += [("SPAN", (column, 0), (column, 1)) for column in (0, 1)]
    return TableStyle(style)


def make_rates(layout: Layout, product: str) -> list[list[str]]:
    if layout.is_merged:
        groups = [text for name in STAGED for text in (name, "")]
        header = [["Date", "Late", *groups], ["", "", *["Initial", "Adjusted"] * len(STAGED)]]
    else:
        header = [["Date", "Late", *(f"{stage} {name}" for name in STAGED for stage in ("Initial", "Adjusted"))]]
    for day in days(layout):
        rates = [f"{rate(day, product, column)}%" for column in range(1 + 2 * len(STAGED))]
        if layout.is_later:
            rates[2::2] = [f"{rate(day, product, column) / 2:.2f}%" for column in range(2, 1 + 2 * len(STAGED), 2)]
        if layout.adjusted:
            rates[2::2] = [layout.adjusted] * len(STAGED)
        header.append([layout.write_day(day), *rates])
    return header


def make_counts(layout: Layout, product: str) -> list[list[str]]:
    body = [[f"{count(day, product, column):,}" for column in range(len(COUNTED))] for day in days(layout)]
    return [["Date", *COUNTED], *([f"{day:%Y-%m-%d}", *row] for day, row in zip(days(layout), body, strict=True))]


def make_scan(picture: bytes) -> bytes:
    """A report whose only page is a picture."""
    return build([Image(BytesIO(picture), width=400, height=300)])


def build(story: Sequence[Any]) -> bytes:
    """The same bytes for the same story: `invariant` leaves out the time of its making."""
    out = BytesIO()
    SimpleDocTemplate(out, pagesize=landscape(letter), leftMargin=18, rightMargin=18, invariant=1).build(list(story))
    return out.getvalue()


DEMO = {
    "02.26.26-Monthly-CAT-Update.pdf": Layout(days=20, first=date(2026, 1, 26), slides=1),
    "03.26.26-Monthly-CAT-Update.pdf": Layout(days=30, first=date(2026, 2, 9), is_later=True, slides=3, rows_a_page=22),
}
"""The two reports of the demo, by the publisher's name. The later one repeats days of the earlier one."""


def demo_name(name: str) -> str:
    """The file's name in the demo, which says that no publisher made it."""
    return name.replace(".pdf", "-constructed.pdf")


if __name__ == "__main__":
    for name, layout in DEMO.items():
        (DATA / "cat" / demo_name(name)).write_bytes(make_report(layout))
