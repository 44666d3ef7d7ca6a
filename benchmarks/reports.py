"""Pages of PDF reports a second: what the source of the audit trail's reports takes beside plain pdfplumber.

plain     pdfplumber's `extract_tables` on each page, pages closed
first     the first reader alone: tables with headings, cells numbered and placed
source    the whole `parse`: both readers, compared cell by cell, and rows
second    the second reader alone: characters of pdfium, joined to lines

Processor time of one process, in turns, `--rounds` times; ratios are of the least times. The report is constructed:
`--pages` pages of 20 days by 16 columns, as in tests/sources/constructed_reports.py.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pdfplumber
import pypdfium2

from spotlightd.model.provenance import Body, Reject
from spotlightd.parse.pdf import tables, words
from spotlightd.sources.cat import monthly_update

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the generator of the tests is not part of the package
from tests.sources import constructed_reports

ROWS_A_PAGE = 20


def read_plain(body: Body) -> int:
    with pdfplumber.open(body.path) as document:
        count = 0
        for page in document.pages:
            count += sum(len(table) for table in page.extract_tables())
            page.close()
        return count


def read_first(body: Body) -> int:
    return sum(len(table.rows) for table in tables.read_tables(body))


def read_second(body: Body) -> int:
    with pypdfium2.PdfDocument(body.path) as document:
        return sum(len(words.read_lines(page)) for page in document)


def read_source(body: Body) -> int:
    items = list(monthly_update.parse(body))
    if any(isinstance(item, Reject) for item in items):
        raise SystemExit("the constructed report has rejects")
    return sum(item.columns.num_rows for item in items if not isinstance(item, Reject))


WAYS: dict[str, Callable[[Body], int]] = {
    "plain": read_plain, "first": read_first, "second": read_second, "source": read_source
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    layout = constructed_reports.Layout(days=arguments.pages // 4 * ROWS_A_PAGE, slides=0, rows_a_page=ROWS_A_PAGE)
    with tempfile.TemporaryDirectory() as folder:
        body = Body(Path(folder) / constructed_reports.NAME, constructed_reports.NAME)
        body.path.write_bytes(constructed_reports.make_report(layout))
        seconds = dict.fromkeys(WAYS, float("inf"))
        for number in range(arguments.rounds):
            print(f"round {number + 1}", file=sys.stderr)
            for name, read in WAYS.items():
                start = time.process_time()
                read(body)
                seconds[name] = min(seconds[name], time.process_time() - start)
    pages = arguments.pages // 4 * 4
    print(json.dumps({
        "pages": pages,
        "pages_per_processor_second": {name: round(pages / least, 1) for name, least in seconds.items()},
        "source_to_plain": round(seconds["source"] / seconds["plain"], 3),
        "second_to_plain": round(seconds["second"] / seconds["plain"], 3),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
