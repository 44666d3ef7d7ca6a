"""The monthly update of the Consolidated Audit Trail: rates of late and wrong records, published only as tables in a PDF.

Published since 2022-06-22, one a month on a day that is not fixed, at an address with that day in it. Links are taken from the
site's feed. For the months of the last year that it does not list, the addresses of all weekdays are tried.

No report could be had when this was written: what is known of its form comes from a public program that reads it. The last
4 to 8 pages hold tables: error rates of equities, of options, then counts of records of both. Tables are found by their
words, wherever they are, and a word that is not known refuses the report. Dates are printed 03/27/2026, 2026-03-27 or with
the month's name.

Each page is read twice, by programs that work in different ways (`spotlightd.parse.pdf`). A value on which they differ is a
reject, and its picture is on the page of the document.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any

import pyarrow as pa

from spotlightd import (
    Batch,
    Body,
    Expected,
    FormatError,
    Link,
    OutsideRows,
    Pages,
    Reject,
    Rows,
    cat_error_rates,
    cat_record_counts,
)
from spotlightd.parse import columns, dates
from spotlightd.parse.pdf import agreement, document, tables
from spotlightd.parse.pdf.tables import Cell, Row, Table
from spotlightd.sources.cat.headings import Meaning, read_meaning

FEED = "https://www.catnmsplan.com/rss/topics.xml"
FIRST = date(2022, 6, 1)
PROBED_MONTHS = 12
NAME = re.compile(r"(\d\d)\.(\d\d)\.(\d\d)-Monthly-CAT-Update[\w.-]*\.pdf", re.IGNORECASE)
ADDRESS = re.compile(rf"https://www\.catnmsplan\.com/[\w./%-]*?/{NAME.pattern}", re.IGNORECASE)
DAY = re.compile(r"^(?:\d{1,2}/\d{1,2}/\d{4}|\d{4}-\d\d-\d\d|[A-Z][a-z]{2,8}\.? \d{1,2}, \d{4})")
FORMS = ("%m/%d/%Y", "%Y-%m-%d", "%b %d, %Y", "%B %d, %Y")
NONE_PRINTED = frozenset({"", "-", "\u2013", "N/A"})
RATE = re.compile(r"^-?\d{1,5}(?:\.\d{1,4})?%$")
COUNT = re.compile(r"^\d{1,3}(?:,\d{3})*$|^\d+$")


@dataclass(frozen=True, slots=True)
class Block:
    """The rows of data of one table, and what its columns mean."""

    table: Table
    meaning: Meaning
    rows: tuple[Row, ...]


async def discover(pages: Pages) -> AsyncIterator[Link]:
    """The reports that the feed names, then computed addresses for the months that it does not."""
    text = await pages.page(FEED)
    listed = {read_day(match[0]): match[0] for match in ADDRESS.finditer(text)}
    for day, address in sorted(listed.items()):
        yield _make_link(address, day)
    months = {dates.month(day).first for day in listed}
    today = datetime.now(UTC).date()
    for number in range(PROBED_MONTHS):
        month = dates.month(dates.add_months(today, -number))
        if month.first in months or month.first < FIRST:
            continue
        for day in dates.business_days(month):
            if day <= today:
                address = (
                    f"https://www.catnmsplan.com/sites/default/files/{day:%Y-%m}/{day:%m.%d.%y}-Monthly-CAT-Update.pdf"
                )
                yield _make_link(address, day, is_probe=True)


def _make_link(address: str, day: date, *, is_probe: bool = False) -> Link:
    month = dates.month(day)
    return Link(address, f"{day:%Y/%m}", month.first, month.last, is_probe=is_probe)


def read_day(name: str) -> date:
    """The day in the name of a report. FormatError if there is none."""
    match = NAME.search(name)
    if match is None:
        raise FormatError(f"{name} is not called like a report: 07.28.22-Monthly-CAT-Update.pdf")
    month, day, year = map(int, match.groups())
    try:
        return date(2000 + year, month, day)
    except ValueError:
        raise FormatError(f"{name} has no day in its name: {match[1]}.{match[2]}.{match[3]}") from None


def parse(body: Body) -> Iterator[Rows | Reject]:
    report_date = read_day(body.name)
    blocks = list(_read_blocks(tables.read_tables(body)))
    if not blocks:
        raise FormatError(f"{body.name} has no table of rates or counts: its pages may be pictures")
    with document.open_characters(body) as pages:
        for number, own in groupby(blocks, key=lambda block: block.table.page):
            on_page = list(own)
            differences = agreement.find_differences(pages[number - 1], [block.rows for block in on_page], DAY)
            for block in on_page:
                yield from _read_block(block, report_date, differences)


def _read_blocks(found: Iterator[Table]) -> Iterator[Block]:
    """The tables that have rows of data. Others are no tables of days: pages of slides have frames and lists."""
    before: Meaning | None = None
    for table in found:
        header = [row for row in table.rows if not _is_data(row)]
        rows = tuple(row for row in table.rows if _is_data(row))
        if not rows:
            continue
        before = read_meaning(table, header, before)
        yield Block(table, before, rows)


def _is_data(row: Row) -> bool:
    return bool(row and row[0] and DAY.match(row[0].text))


def _read_block(block: Block, report_date: date, differences: agreement.Differences) -> Iterator[Rows | Reject]:
    values = list[dict[str, Any]]()
    for row in block.rows:
        for item in _read_row(block, row, report_date, differences):
            if isinstance(item, Reject):
                yield item
            else:
                values.append(item)
    dataset = cat_record_counts if block.meaning.counts else cat_error_rates
    if values:
        yield Rows(dataset, pa.RecordBatch.from_pylist(values, schema=columns.parsed_schema(dataset)))


def _read_row(
    block: Block, row: Row, report_date: date, differences: agreement.Differences
) -> Iterator[dict[str, Any] | Reject]:
    page, first, meaning = block.table.page, row[0], block.meaning
    day = _read_date(first.text) if first and first.number not in differences else None
    cells = [cell for cell in row if cell]
    if first is None or day is None or len(row) != len(meaning.columns) + 1 or len(cells) != len(row):
        reason = "the readers differ, it is no date, or the row has other columns than its header"
        yield Reject(page, cells[0].number, " | ".join(cell.text for cell in cells), reason)
        return
    for (what, stage), cell in zip(meaning.columns, cells[1:], strict=True):
        if cell.number in differences:
            reason = f"the second reader found {differences[cell.number]!r} in this cell"
            yield Reject(page, cell.number, cell.text, reason)
        elif not (cell.text in NONE_PRINTED or (COUNT if meaning.counts else RATE).match(cell.text)):
            yield Reject(page, cell.number, cell.text, "not a number as the report prints them")
        else:
            place = {"member": page, "line": cell.number, "cell": cell.box.rounded(), "printed": cell.text}
            yield {"trade_date": day, "product": meaning.product, "report_date": report_date, **place} | (
                {"kind": what, "records": _read_count(cell)}
                if meaning.counts
                else {"error": what, "stage": stage, "rate": _read_rate(cell)}
            )


def _read_date(text: str) -> date | None:
    for form in FORMS:
        try:
            return datetime.strptime(text.replace(".", ""), form).replace(tzinfo=UTC).date()
        except ValueError:
            continue
    return None


def _read_rate(cell: Cell) -> Decimal | None:
    return None if cell.text in NONE_PRINTED else Decimal(cell.text.rstrip("%")).quantize(Decimal("0.0001"))


def _read_count(cell: Cell) -> int | None:
    return None if cell.text in NONE_PRINTED else int(cell.text.replace(",", ""))


def expected(day: date) -> Expected:
    """The report of the month before the last one counts as late on the first of a month: its day is not fixed."""
    month = dates.month(dates.add_months(day, -2)).first
    return Expected(f"{month:%Y/%m}", dates.add_months(month, 2))


source = Batch(
    name="cat_monthly_update",
    title="CAT monthly update",
    home="https://www.catnmsplan.com/",
    datasets=(cat_error_rates, cat_record_counts),
    discover=discover,
    parse=parse,
    parser="1",
    hosts=("www.catnmsplan.com",),
    begins_with=document.BEGIN,
    cron="40 14 * * *",
    expected=expected,
    outside=OutsideRows.REFUSE,
    max_bytes=64 << 20,
    requests_per_second=0.2,
    rejects_allowed=0.02,
)
