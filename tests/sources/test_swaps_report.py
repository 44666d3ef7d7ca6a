"""The CFTC's weekly swaps report. All workbooks here are constructed: no real one was to be had."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from spotlightd import Body, FormatError, Link, Reject, Rows
from spotlightd.parse import workbook
from spotlightd.settings.sources import ParserSettings
from spotlightd.sources.cftc import weekly_swaps_report as report
from spotlightd.testing import MemoryPublishers, Reply
from spotlightd.workers.excerpt_child import read_excerpt
from spotlightd.workers.parser import ChildParser
from tests.parse import archives

CASES = Path(__file__).parents[1] / "golden" / "cftc_swaps_report"
NAME = "CFTC_Swaps_Report_11_16_2026.xlsx"


def pack(case: str, folder: Path, **replaced: str) -> Path:
    """The workbook of a golden case as a file. `replaced`: other contents for sheets, by the names of their files."""
    parts = CASES / case / "workbook"
    path = folder / NAME
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in sorted(found for found in parts.rglob("*") if found.is_file()):
            content = replaced.get(part.stem, part.read_text(encoding="utf-8"))
            archive.writestr(str(part.relative_to(parts)), content)
    return path


def rows(path: Path) -> Iterator[dict[str, Any]]:
    for item in report.parse(Body(path, NAME)):
        assert not isinstance(item, Reject)
        assert isinstance(item, Rows)
        yield from item.columns.to_pylist()


def test_figures_of_every_form_are_read(tmp_path: Path) -> None:
    """Numbers, a text with separators, a cell without a figure; weeks as texts and as days of a spreadsheet."""
    read = list(rows(pack("constructed_edition", tmp_path)))
    cleared = [(row["week"], row["value"], row["printed"]) for row in read if row["item"] == "Cleared"]
    assert cleared == [
        (date(2026, 10, 9), Decimal(300_100_200), "300100200"),
        (date(2026, 10, 16), Decimal("301000000.5"), "301000000.5"),
        (date(2026, 10, 23), Decimal(302_500_000), "302,500,000"),
        (date(2026, 10, 30), None, "N/A"),
        (date(2026, 11, 6), Decimal(304_000_000), "304000000"),
    ]
    index = [(row["week"], row["value"]) for row in read if row["item"] == "Index CDX"]
    assert index == [(date(2026, 10, 9), Decimal(12)), (date(2026, 10, 16), Decimal(13))]


async def test_the_confined_child_reads_a_workbook(tmp_path: Path) -> None:
    path = pack("constructed_edition", tmp_path)
    async with (
        ChildParser(ParserSettings(), {report.source.name: report.__name__}) as parser,
        parser.parse(report.source, path, NAME, load_id=9) as parsing,
    ):
        async for _ in parsing.columns("swaps_report"):
            pass
        assert (await parsing.result()).rows == {"swaps_report": 12}


def test_a_row_leads_back_to_its_row_in_the_sheet(tmp_path: Path) -> None:
    """For each row: the text at its sheet and row, as the page of the document shows it, has its item and its figure."""
    path = pack("constructed_edition", tmp_path)
    for row in rows(path):
        name, lines = read_excerpt(Body(path, NAME), row["member"], row["line"], 0)
        assert name == row["sheet"]
        (text,) = [text for number, text in lines if number == row["row"]]
        cells = text.split("\t")
        assert " ".join(cell for cell in cells if cell in row["item"]).strip() == row["item"]
        assert row["printed"] in cells


def test_a_row_that_a_sheet_does_not_have_is_refused(tmp_path: Path) -> None:
    body = Body(pack("constructed_edition", tmp_path), NAME)
    for member, line in ((1, 99), (7, 1)):
        with pytest.raises(FormatError, match=r"has no (line|sheet)"):
            read_excerpt(body, member, line, 2)


SHEET = (
    '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>{}</sheetData></worksheet>'
)


@pytest.mark.parametrize(
    ("sheet", "problem"),
    [
        (
            SHEET.format(
                '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row><row r="1"><c r="A1"><v>1</v></c></row>'
            ),
            "more than 2,000,000",
        ),
        ("<worksheet", "cannot be read"),
        (SHEET.format(" " * 40_000_000), "ratio|unpacks"),
    ],
    ids=["a_cell_far_away", "broken", "bomb"],
)
def test_a_hostile_sheet_is_refused(tmp_path: Path, sheet: str, problem: str) -> None:
    path = pack("constructed_edition", tmp_path, sheet1=sheet)
    with pytest.raises(FormatError, match=problem):
        list(workbook.read_sheets(Body(path, NAME)))


def test_a_truncated_workbook_is_refused(tmp_path: Path) -> None:
    path = pack("constructed_edition", tmp_path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(FormatError):
        list(report.parse(Body(path, NAME)))


def test_a_zip_that_claims_to_be_a_workbook_is_refused(tmp_path: Path) -> None:
    body = archives.body(tmp_path, archives.archive([archives.Entry("xl/workbook.xml", b"<workbook/>")]))
    with pytest.raises(FormatError, match="is a workbook that cannot be read"):
        list(workbook.read_sheets(body))


PAGE = """
<a href="/sites/default/files/2026-11/CFTC_Swaps_Report_11_16_2026.xlsx">November 16, 2026</a>
<a href="/idc/groups/public/swapsreport/CFTC_Swaps_Report_01_05_2015.xlsx">January 5, 2015</a>
<a href="/sites/default/files/2026-09/cftc_swaps_report_9_8_2026_0.xlsx">the Tuesday after Labor Day, posted again</a>
<a href="/MarketReports/SwapsReports/ReleaseSchedule/index.htm">calendar</a>
<a href="/sites/default/files/2026-11/Data_Dictionary.xlsx">something else</a>
"""


async def discover() -> list[Link]:
    publishers = MemoryPublishers({report.INDEX: Reply(PAGE.encode(), "text/html")})
    return [link async for link in report.discover(publishers.for_source(report.source))]


async def test_editions_are_found_by_the_names_of_their_files() -> None:
    """An edition covers its week, so one that a holiday moved to Tuesday is the one that was expected."""
    assert [(link.covers, link.first) for link in await discover()] == [
        ("2026/w47", date(2026, 11, 16)), ("2015/w02", date(2015, 1, 5)), ("2026/w37", date(2026, 9, 8)),
    ]  # fmt: skip
    assert report.expected(date(2026, 9, 21)).covers == "2026/w37"


def test_what_is_expected_only_moves_on() -> None:
    expected = [report.expected(date(2024, 12, 1) + timedelta(days=number)).covers for number in range(800)]
    assert expected == sorted(expected)
