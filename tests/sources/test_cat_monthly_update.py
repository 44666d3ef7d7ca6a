"""Monthly updates of the audit trail: each constructed layout gives each number, from the cell that it is printed in."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
from PIL import Image as Pictures
from reportlab.lib import colors
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Paragraph, Table, TableStyle

from spotlightd.demo.publisher import DATA
from spotlightd.errors import FormatError
from spotlightd.model.provenance import Body, Reject
from spotlightd.model.source import Link, Period, Rows
from spotlightd.parse.pdf import tables
from spotlightd.settings.sources import ParserSettings
from spotlightd.sources.cat import monthly_update
from spotlightd.sources.cat.monthly_update import source
from spotlightd.workers import excerpt_child
from spotlightd.workers.child_process import read_document
from spotlightd.workers.excerpt import MODULE, NO_THREADS
from spotlightd.workers.inline import parse_inline
from spotlightd.workers.parser import ChildParser
from tests.sources import constructed_reports as reports
from tests.sources.constructed_reports import NAME, Layout

MARCH = Period(date(2026, 3, 1), date(2026, 3, 31))
LAYOUTS = {
    "header in two rows": Layout(),
    "header in one row": Layout(is_merged=False),
    "days with the month's name": Layout(write_day=lambda day: f"{day:%b} {day.day}, {day:%Y}"),
    "tables over three pages, header once": Layout(days=45, rows_a_page=20, repeats_header=False, slides=0),
    "tables over three pages, header on each": Layout(days=45, rows_a_page=20, slides=7),
    "no adjusted rates yet": Layout(adjusted="N/A"),
}
RATES = [("late", "")] + [(error, stage) for error in (
    "rejection", "intrafirm", "interfirm_sent", "interfirm_received", "exchange", "trade", "overall"
) for stage in ("initial", "adjusted")]  # fmt: skip
KINDS = ("processed", "accepted", "late", "errors")


def parse(data: bytes, folder: Path, name: str = NAME) -> tuple[list[dict[str, Any]], list[Reject]]:
    path = folder / "report.pdf"
    path.write_bytes(data)
    items = list(parse_inline(source, path, name, period=MARCH))
    rows = [row for item in items if isinstance(item, Rows) for row in item.columns.to_pylist()]
    return rows, [item for item in items if isinstance(item, Reject)]


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_each_number_of_a_report_is_a_row(layout: Layout, tmp_path: Path) -> None:
    rows, rejects = parse(reports.make_report(layout), tmp_path)
    found = {
        (row["trade_date"], row["product"], row.get("error", row.get("kind")), row.get("stage")): row for row in rows
    }
    expected: dict[tuple[date, str, str, str | None], Decimal | int | None] = {}
    for day in reports.days(layout):
        for product in reports.PRODUCTS:
            for column, (error, stage) in enumerate(RATES):
                is_known = not (layout.adjusted and stage == "adjusted")
                expected[day, product.lower(), error, stage] = reports.rate(day, product, column) if is_known else None
            for column, kind in enumerate(KINDS):
                expected[day, product.lower(), kind, None] = reports.count(day, product, column)
    assert {key: row.get("rate", row.get("records")) for key, row in found.items()} == expected
    assert len(rows) == len(expected)
    assert rejects == []
    assert {row["report_date"] for row in rows} == {date(2026, 3, 26)}


def test_the_other_reader_finds_each_number_in_the_cell_of_its_row(tmp_path: Path) -> None:
    rows, _ = parse(reports.make_report(Layout(days=25, rows_a_page=20)), tmp_path)
    assert len(rows) == 25 * 2 * (15 + 4)
    for row, text in zip(rows, _texts_in_cells(tmp_path / "report.pdf", rows), strict=True):
        assert text == row["printed"]


def _texts_in_cells(path: Path, rows: list[dict[str, Any]]) -> Iterator[str]:
    with pypdfium2.PdfDocument(path) as document:
        for row in rows:
            page = document[row["member"] - 1]
            left, top, right, bottom = row["cell"]
            text_page = page.get_textpage()
            yield text_page.get_text_bounded(left, page.get_height() - bottom, right, page.get_height() - top).strip()


def test_a_value_on_which_the_readers_differ_is_a_reject(tmp_path: Path) -> None:
    """The number is longer than its cell: the first reader cuts it at the line, the second one reads it whole."""
    rows = [
        ["Date", "Processed", "Accepted"],
        ["2026-03-02", "1,234", "56,789"],
        ["2026-03-03", "123,456,789,012", "7"],
    ]
    style = TableStyle([("GRID", (0, 0), (-1, -1), 0.5, colors.grey), ("ALIGN", (1, 1), (1, -1), "LEFT")])
    story = [Paragraph("Record Counts: Equities"), Table(rows, colWidths=[70, 55, 60], style=style)]
    read, rejects = parse(reports.build(story), tmp_path)
    assert read == []
    assert [(reject.member, reject.line, reject.text) for reject in rejects] == [
        (1, 4, "2026-03-02 | 1,234 | 56,789"),
        (1, 7, "2026-03-03 | 123,456,78 | 97,012"),
    ]
    assert all("the readers differ" in reject.reason for reject in rejects)


REFUSED = {
    "a picture": (lambda: reports.make_scan(_picture()), "has no table of rates or counts: its pages may be pictures"),
    "another column": (
        lambda: _one_table("Equities", "Rejected Late Colour"),
        "the column 'rejected late colour' is not known",
    ),
    "no product": (lambda: _one_table("Fixed income", "Processed"), "says neither equities nor options"),
    "two columns alike": (lambda: _one_table("Equities", "Processed", "Processed"), "two columns have one meaning"),
    "a table without a header": (lambda: _one_table("Equities"), "a table without a header goes on with no other"),
    "HTML": (lambda: b"<!DOCTYPE html><title>404</title>", "is not a PDF"),
    "cut off": (lambda: reports.make_report()[:6_000], "is a PDF that is cut off"),
    "too many pages": (lambda: reports.make_report(Layout(slides=201)), "more than the 200 allowed"),
}


def _picture() -> bytes:
    png = BytesIO()
    Pictures.new("RGB", (60, 40), (255, 255, 255)).save(png, "PNG")
    return png.getvalue()


def _one_table(heading: str, *names: str) -> bytes:
    header = [["Date", *names]] if names else []
    rows = [*header, ["2026-03-02", *["7"] * max(len(names), 1)]]
    return reports.build(
        [Paragraph(heading), Table(rows, style=TableStyle([("GRID", (0, 0), (-1, -1), 0.5, colors.grey)]))]
    )


@pytest.mark.parametrize(("make", "sentence"), REFUSED.values(), ids=REFUSED)
def test_a_report_that_is_not_understood_is_refused(make: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=re.escape(sentence)):
        parse(make(), tmp_path)


def test_a_font_without_letters_gives_no_numbers(tmp_path: Path) -> None:
    """Its characters are numbers of glyphs. No reader may guess the digits."""
    pdfmetrics.registerFont(TTFont("Vera", "Vera.ttf", asciiReadable=0))
    style = TableStyle([("GRID", (0, 0), (-1, -1), 0.5, colors.grey), ("FONTNAME", (1, 1), (1, 1), "Vera")])
    rows = [["Date", "Processed"], ["2026-03-02", "987"], ["2026-03-03", "654"]]
    data = reports.build([Paragraph("Record Counts: Options"), Table(rows, style=style)])
    blinded = re.sub(rb"/ToUnicode \d+ 0 R", lambda match: b" " * len(match[0]), data)
    assert blinded != data
    read, rejects = parse(blinded, tmp_path)
    assert [row["records"] for row in read] == [654]
    assert [(reject.member, reject.line) for reject in rejects] == [(1, 4)]
    assert "the second reader found" in rejects[0].reason


@pytest.mark.parametrize("name", ["13.26.26-Monthly-CAT-Update.pdf", "report.pdf"])
def test_a_report_without_a_day_in_its_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=re.escape(name)):
        parse(reports.make_report(Layout(days=1)), tmp_path, name)


@pytest.mark.parametrize(("name", "layout"), reports.DEMO.items())
def test_the_reports_of_the_demo_are_the_constructed_ones(name: str, layout: Layout) -> None:
    assert (DATA / "cat" / reports.demo_name(name)).read_bytes() == reports.make_report(layout)


class FeedPages:
    """The site's feed, constructed."""

    async def page(self, url: str, *, post: str | None = None) -> str:
        assert (url, post) == (monthly_update.FEED, None)
        today = datetime.now(UTC).date()
        address = (
            f"https://www.catnmsplan.com/sites/default/files/{today:%Y-%m}/{today:%m.%d.%y}-Monthly-CAT-Update.pdf"
        )
        return f"<rss><item><link>https://www.catnmsplan.com/a</link><description>{address}</description></item></rss>"


async def test_months_that_the_feed_does_not_list_are_probed_on_weekdays() -> None:
    links: list[Link] = [link async for link in monthly_update.discover(FeedPages())]
    today = datetime.now(UTC).date()
    assert [link.covers for link in links if not link.is_probe] == [f"{today:%Y/%m}"]
    probes = [link for link in links if link.is_probe]
    assert {link.covers for link in probes} & {f"{today:%Y/%m}"} == set()
    assert len({link.covers for link in probes}) == monthly_update.PROBED_MONTHS - 1
    assert all(monthly_update.read_day(link.url).weekday() < 5 for link in probes)


def test_the_page_is_drawn_with_the_cell_marked(tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    path.write_bytes(reports.make_report(Layout(slides=1)))
    cell = next(cell for cell in tables.read_cells(Body(path, NAME), 2) if cell.text.endswith("%"))
    answer = excerpt_child.read_page(Body(path, NAME), 2, cell.number, 3, with_picture=False)
    assert (cell.number, cell.text) in answer["lines"]
    assert answer["picture"] == ""
    with pytest.raises(FormatError, match="no cell 5000 on page 2"):
        excerpt_child.read_page(Body(path, NAME), 2, 5_000, 3, with_picture=True)


async def test_a_confined_child_draws_the_page(tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    path.write_bytes(reports.make_report(Layout(slides=1)))
    cell = next(cell for cell in tables.read_cells(Body(path, NAME), 2) if cell.text.endswith("%"))
    request = {"path": str(path), "name": NAME, "member": 2, "line": cell.number, "around": 1, "with_picture": True}
    confinement, answer = await read_document(MODULE, request, ParserSettings(), lambda value: value, NO_THREADS)
    assert "seccomp" in confinement
    picture = Pictures.open(BytesIO(base64.b64decode(answer["picture"]))).convert("RGB")
    scale = picture.width / 792
    color = picture.getpixel((int(cell.box.left * scale) - 2, int(cell.box.middle * scale)))
    assert isinstance(color, tuple)
    assert color[0] > 150
    assert max(color[1:]) < 100


def _hostile(name: str) -> bytes:
    """Constructed after measured attacks on PDF readers."""
    if name == "text that unpacks to 400 MB":
        text = zlib.compress(zlib.compress(b" " * (400 << 20), 9), 9)
        return _pdf(b"<</Length %d /Filter [/FlateDecode /FlateDecode]>>stream\n%s\nendstream" % (len(text), text))
    if name == "100,000 rectangles":
        drawing = b"".join(b"%d %d 3 3 re S\n" % (x % 600, x // 600 * 4) for x in range(100_000))
        return _pdf(b"<</Length %d>>stream\n%s\nendstream" % (len(drawing), drawing))
    return _pdf(b"[" * 100_000 + b"]" * 100_000)


def _pdf(content: bytes) -> bytes:
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 792 612]/Contents 4 0 R>>",
        content,
    ]
    data, places = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(data)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return (
        data
        + b"xref\n0 5\n0000000000 65535 f \n"
        + table
        + b"trailer<</Size 5/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % start
    )


@pytest.mark.parametrize("name", ["text that unpacks to 400 MB", "100,000 rectangles", "100,000 nested arrays"])
async def test_a_hostile_report_ends_with_a_refusal(name: str, tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    path.write_bytes(_hostile(name))
    limits = ParserSettings(cpu_seconds=2, memory_bytes=1 << 30)
    async with (
        ChildParser(limits, {source.name: "spotlightd.sources.cat.monthly_update"}) as parser,
        parser.parse(source, path, NAME, load_id=1, period=MARCH) as session,
    ):
        for dataset in source.datasets:
            assert [piece async for piece in session.columns(dataset.name) if not piece] == []
        with pytest.raises(FormatError):
            await session.result()
