"""DTCC's swap data repository: what the files of all its regimes and asset classes have in common.

A whole day is one zip with one CSV, posted about 00:15 UTC on the next day, weekends too. Before that the messages of the day
come in slices, about 2,000 a weekday, some seconds apart. A slice `s00042` is a part of its day, so the file of the day
replaces the slices, and slices are requested only for days that have no file yet.

Where: a site lists both kinds, the slices of about the last 24 hours. The files are in a bucket under computed names, and those
of the last two years can be fetched there also when they are not listed. So missing days of two years are probed, and numbers
of slices that left the list. What is not there yet is answered with 403. So is what is older than two years, which is in the
bucket's deep archive: a request by HEAD tells the difference.

The files:
- The day of a file is the UTC day on which its messages were made public. No field says so, so it is taken from the file's name.
  Executions and events of its messages can be years older.
- The file in the zip has another name than the zip in V1 (RATES_2019_03_20.csv). Its time is New York's, and an hour of the
  night in which clocks are set back is there twice; it is not used.
- Zips of 2023 tell sizes only after the data. Slices of 2023 end with a blank line, files of days do not.
- Text is UTF-8, sometimes with a byte-order mark. Numbers have separators and, when capped, a plus sign: 132,405,004+.
- Identifiers have 9 digits until 2024 and up to 19 since, so they are text.
- Some messages name themselves as the one before. Corrections (CORR) and withdrawals (EROR) mostly have no event type; on a
  Saturday of 2023, 353 of 403 messages were corrections.
- The site sends a page of HTML with status 200 when it is busy.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import date, timedelta
from functools import partial

from spotlightd import Batch, Body, Expected, FormatError, Link, OutsideRows, Pages, PublisherError, Reject, Rows, swaps
from spotlightd.parse import json_text, zipped
from spotlightd.parse.messages import swaps as messages
from spotlightd.sources.dtcc import layouts
from spotlightd.sources.dtcc.reread import reread

HOME = "https://pddata.dtcc.com/ppd/"
LISTS = "https://pddata.dtcc.com/ppd/api"
BUCKET = "https://kgc0418-tdw-data-0.s3.amazonaws.com"
RETENTION_DAYS = 731
NAME = re.compile(r"(?P<year>20\d\d)_(?P<month>\d\d)_(?P<day>\d\d)(?:_(?P<number>\d{1,6}))?\.zip$")
READER = messages.make_reader(swaps, layouts.LAYOUTS)


def declare(regime: str, asset: str, code: str, title: str, minute: int) -> Batch:
    """The source of one asset class under one regime. It looks every five minutes, from that minute on."""
    return Batch(
        name=f"dtcc_{regime.lower()}_{asset.lower()}",
        title=f"{title}: swap messages at DTCC under {regime} rules",
        home=HOME,
        datasets=(swaps,),
        discover=partial(_discover, regime, asset, code),
        parse=make_parse(regime),
        reread=partial(reread, publisher="DTCC", regime=regime),
        parser="1",
        hosts=("kgc0418-tdw-data-0.s3.amazonaws.com", "pddata.dtcc.com"),
        begins_with=b"PK",
        forbidden_is_absent=True,
        cron=f"{minute}-59/5 * * * *",
        expected=expected,
        outside=OutsideRows.REFUSE,
        rejects_allowed=0.02,
        max_bytes=256 << 20,
    )


def make_parse(regime: str) -> Callable[[Body], Iterator[Rows | Reject]]:
    """`parse` for files of that regime, whatever their layout and asset class are."""
    return partial(_parse, regime)


def expected(day: date) -> Expected:
    """The file of the day before yesterday: yesterday's may be some hours late."""
    return Expected(cover(day - timedelta(days=2)), day)


def cover(day: date, number: int = 0) -> str:
    """A whole day, or the slice of it with that number."""
    return f"{day:%Y/%m/%d}/s{number:05}" if number else f"{day:%Y/%m/%d}"


def _parse(regime: str, body: Body) -> Iterator[Rows | Reject]:
    match = NAME.search(body.name)
    if match is None:
        raise FormatError(f"{body.name} has no day in its name")
    constants = {"publisher": "DTCC", "regime": regime, "report_date": _day(match)}
    members = zipped.members(body)
    if len(members) != 1 or members[0].ending != ".csv":
        names = ", ".join(repr(member.name[:80]) for member in members[:3])
        raise FormatError(f"{body.name} holds {len(members)} files ({names}), where one CSV is expected")
    yield from READER.read(zipped.pieces(members[0]), constants)


async def _discover(regime: str, asset: str, code: str, pages: Pages) -> AsyncIterator[Link]:
    """The listed files, then computed addresses: of missing days back two years, and of slices that left the list."""
    folder = f"{BUCKET}/{regime.lower()}"
    days = await _list_files(pages, f"{LISTS}/cumulative/{regime}/{code}", f"{regime}_CUMULATIVE_{asset}_")
    listed = {_day(match) for match in days}
    if not listed:
        raise PublisherError(f"the list of {regime} {asset} names no file of a day", outcome="wrong body")
    slices = await _list_files(pages, f"{LISTS}/slice/{regime}/{code}", f"{regime}_SLICE_{asset}_")
    newest = max(listed)
    for day in (newest - timedelta(days=back) for back in range(RETENTION_DAYS)):
        address = f"{folder}/eod/{regime}_CUMULATIVE_{asset}_{day:%Y_%m_%d}.zip"
        yield Link(address, cover(day), day, day, is_probe=day not in listed)
    for day, numbers in _group_slices(slices, listed).items():
        for number in range(1, max(numbers) + 1):
            address = f"{folder}/slices/{regime}_SLICE_{asset}_{day:%Y_%m_%d}_{number}.zip"
            yield Link(address, cover(day, number), day, day, is_probe=number not in numbers)


async def _list_files(pages: Pages, address: str, beginning: str) -> list[re.Match[str]]:
    """The names of the files of a list that begin so. PublisherError for anything but a list of files."""
    entries = json_text.read(await pages.page(address), address)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and "fileName" in entry for entry in entries):
        raise PublisherError(f"{address} is not a list of files", outcome="wrong body")
    names = [str(entry["fileName"]) for entry in entries]
    return [match for name in names if name.startswith(beginning) and (match := NAME.search(name))]


def _group_slices(slices: list[re.Match[str]], listed: set[date]) -> Mapping[date, set[int]]:
    """The numbers of the listed slices by day, for days that have no file yet."""
    found = dict[date, set[int]]()
    for match in slices:
        if match["number"] and _day(match) not in listed:
            found.setdefault(_day(match), set()).add(int(match["number"]))
    return found


def _day(match: re.Match[str]) -> date:
    """FormatError for a name with a day that no calendar has."""
    try:
        return date(*(int(match[part]) for part in ("year", "month", "day")))
    except ValueError:
        raise FormatError(f"{match.string} names no day of the calendar") from None
