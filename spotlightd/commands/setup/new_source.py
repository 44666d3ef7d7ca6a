"""`new-source`: writes a new source that loads, and a golden case that fails until the source is complete."""

from __future__ import annotations

import argparse
from pathlib import Path

from spotlightd.commands.command import Command, argument
from spotlightd.commands.output import Out
from spotlightd.errors import SettingsError
from spotlightd.files import write_file
from spotlightd.model.dataset import NAME
from spotlightd.settings.settings import Settings

SKELETON = '''"""{title}: write in one sentence what the publisher reports, and where.

Publisher's page: https://example.org/reports
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import date

from spotlightd import Batch, Body, Column, Dataset, Expected, FormatError, Link, OutsideRows, Pages, Reject, Rhythm, Rows

INDEX = "https://example.org/reports"

{name} = Dataset(
    name="{name}",
    title="{title}",
    publisher="Example Authority",
    about="What one row is, in the publisher's own terms.",
    columns=(
        Column("day", "Date", "the day that the row reports"),
        Column("symbol", "LowCardinality(String)", "the ticker, as the publisher prints it"),
        Column("quantity", "UInt64", "the number of shares", unit="shares"),
    ),
    key=("day", "symbol"),
    order=("symbol", "day"),
    time="day",
    symbol="symbol",
    partition="toYear(day)",
    rhythm=Rhythm("daily, on the next morning", stale_days=4),
)


async def discover(pages: Pages) -> AsyncIterator[Link]:
    """All documents that exist. The ledger decides which are new."""
    page = await pages.page(INDEX)
    raise FormatError(f"discover is not written yet; the page has {{len(page)}} characters")
    yield Link(INDEX, "2021/01/04", date(2021, 1, 4), date(2021, 1, 4))


def parse(body: Body) -> Iterator[Rows | Reject]:
    """Take or drop every field by name. spotlightd/sources/sec_ftd.py is a complete example."""
    raise FormatError(f"parse is not written yet: {{body.name}}")
    yield Reject(0, 1, "", "")


def expected(day: date) -> Expected:
    """The newest slice that should be out by that day."""
    return Expected(day.strftime("%Y/%m/%d"), day)


source = Batch(
    name="{name}",
    title="{title}",
    home=INDEX,
    datasets=({name},),
    discover=discover,
    parse=parse,
    parser="1",
    hosts=("example.org",),
    cron="0 6 * * *",
    expected=expected,
    outside=OutsideRows.REFUSE,  # or REJECT, or OWNER_ONLY: see docs/add-a-source.md
    least_links=1,
)
'''
CASE = """{
  "constructed": "write here who made the document of this case, or where it was published",
  "document": "document.txt",
  "rows": {"%s": 1},
  "rejects": 0
}
"""


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Write NAME.py and golden/NAME/first/. Existing files are never overwritten."""
    del settings
    name: str = arguments.name
    if not NAME.match(name):
        raise SettingsError(f"{name!r}: use lower case letters, digits and _, beginning with a letter")
    folder: Path = arguments.folder
    case = folder / "golden" / name / "first"
    source = folder / f"{name}.py"
    for path in (source, case):
        if path.exists() or path.is_symlink():
            raise SettingsError(f"{path} exists already")
    try:
        case.mkdir(parents=True)
        skeleton = SKELETON.format(name=name, title=name.replace("_", " "))
        for path, text in ((source, skeleton), (case / "document.txt", ""), (case / "expected.json", CASE % name)):
            write_file(path, text.encode(), out.file_mode, replaces=False)
    except OSError as error:
        raise SettingsError(f"{folder} cannot be written: {error.strerror}") from None
    next_step = f"put a real document there, then `spotlightd try {source} {case}/document.txt`"
    out.result(f"wrote {source} and {case}: {next_step}", {"source": str(source), "case": str(case)})
    return 0


COMMAND = Command(
    "new-source",
    "write the skeleton of a source and a golden case that fails",
    "spotlightd new-source finra_otc --folder etl",
    (
        argument("name", metavar="NAME", help="lower case letters, digits and _"),
        argument("--folder", type=Path, default=Path(), help="where to write it (default: here)"),
    ),
    run,
)
