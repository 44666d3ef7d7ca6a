"""Fails to deliver: shares of each security that were still owed at the end of a settlement day, since 2004.

The SEC posts a zip of piped text twice a month: `a` for settlement days 1 to 14, `b` for 15 to the end of the month. Up to
mid-2009 it posted one zip a quarter, with a text for each month. Links are taken from the index page by file name only:
the folders changed five times. A suffix (`cnsfails201910a_0.zip`) marks a file that was posted again; the member of
`cnsfails202308b_0.zip` is called cnsfails202309a.txt, so member names say nothing about the period.

When: first halves about the last business day of the month, second halves about the 15th of the next. The times of the
members in nine zips of 2020 and 2021 are 30 September, 30 November, 14 and 30 December, 15 January, 16 February, 1 and 15
March and 29 June.

The texts, as seen in 21 half-months of 2019 to 2021 and in files of 2004:
- The six columns have not changed since the start. Lines end with LF in 2019 to 2021 and with CR LF in 2004. Since May 2022
  the text often has no ending in its name.
- The last two lines count records and shares. Both were right in all 21 half-months. Some monthly texts of 2004 to 2009
  are said to lack the second, so there the trailers are checked only if present.
- A name may hold the separator where an exclamation mark was meant (`BAM| ENTMT INC`, 2004-08 to 2005-01) and quotes that
  do not pair (`W.P. CAREY INC " REIT" COM`). The first four fields are read from the left and the price from the right.
- A name may hold a byte of no usual charset: 0xBB for the accented E of ENEL AMERICAS (2019-01 to April 2020), 0xFE for the
  accented U of ITAU (October 2021). Texts are read as latin-1, which keeps every byte, so these names come out as
  `ENEL AM»RICAS` and `ITAþ`. The explorer's search finds them by their other letters.
- A price is `.` where the publisher knows none: 444 to 762 times in each of 12 half-months of 2019 to 2021. Almost no row before
  April 2007 has a price.
- Symbols that end in XXXX or ZZZZ are printed so by the publisher. A row without a symbol is mostly of a security that is
  not eligible for continuous net settlement.
- No (day, CUSIP, symbol) was there twice in any of the 21 half-months. If one ever is, both rows are kept, as published.
- All rows of 12 half-months of 2019 to 2021 are of the days that the file's name says. Public parsers of the files of 2004
  report that 2004-04-01 is in the first and in the second quarter. A balance counts once, so a row is loaded only from the
  file of its own day.

The SEC's page speaks of one more file: balances below 10,000 shares from 2008-09-16 to 2009-06-30. Nobody of whom we know
has published its name or its content, so it is found by what its link or name says, and read like the files of its time.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

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
    sec_ftd,
)
from spotlightd.parse import dates, delimited, html, lines, zipped

__all__ = ["sec_ftd", "source"]

INDEX = "https://www.sec.gov/data-research/sec-markets-data/fails-deliver-data"
PACKED, TEXT = b"PK", b"SETTLEMENT DATE|"
NAME = (
    r"(?i)/(?:cnsfails(?P<year>20\d\d)(?P<month>0[1-9]|1[0-2])(?P<half>[ab])"
    r"|cnsp_sec_fails_(?P<old_year>20\d\d)q(?P<quarter>[1-4]))(?:_(?P<again>\d{1,3}))?\.zip$"
)
ARCHIVE = r"(?i)/(?P<stem>[^/]+?)(?:_(?P<again>\d{1,3}))?\.(?:zip|txt)$"
_MANY = r"(?:10(?:[,._]?000|k)|9[,._]?999|ten[\s_-]*thousand)"
SMALL_BALANCES = re.compile(
    r"(?i)(?:less|fewer|smaller|under|below|up[\s_-]*to|not[\s_-]*(?:over|exceeding|more)|(?<![a-z])(?:lt|sub)|<)"
    rf"[\s_-]*(?:than)?[\s_-]*{_MANY}|{_MANY}[\s_-]*(?:shares[\s_-]*)?or[\s_-]*(?:less|fewer)|small[\s_-]*balance"
)
SMALL_BALANCES_FROM, SMALL_BALANCES_TO = date(2008, 9, 16), date(2009, 6, 30)

HALF_MONTH = delimited.Layout(
    dataset=sec_ftd,
    separator="|",
    take={
        "SETTLEMENT DATE": "settlement_date",
        "CUSIP": "cusip",
        "SYMBOL": "symbol",
        "QUANTITY (FAILS)": "quantity",
        "DESCRIPTION": "description",
        "PRICE": "price",
    },
    encoding="latin-1",
    days="%Y%m%d",
    nulls=(".", ""),
    loose="DESCRIPTION",  # "BAM| ENTMT INC": the separator stands where the name has an exclamation mark
    trailers=(
        delimited.Trailer("Trailer record count"),
        delimited.Trailer("Trailer total quantity of shares", total="quantity"),
    ),
)
OLDER = replace(HALF_MONTH, strict=False)


async def discover(pages: Pages) -> AsyncIterator[Link]:
    """All files of the index page, oldest first. Of a file that was posted again, only the newest."""
    page = await pages.page(INDEX)
    found = [(_make_link(anchor.url, anchor.match), anchor) for anchor in html.links(page, INDEX, NAME)]
    found += [(_make_small_link(anchor), anchor) for anchor in html.links(page, INDEX, ARCHIVE) if _is_small(anchor)]
    newest: dict[str, tuple[int, Link]] = {}
    for link, anchor in found:
        again = int(anchor.match["again"] or -1)
        if link.covers not in newest or newest[link.covers][0] < again:
            newest[link.covers] = (again, link)
    for _, link in sorted(newest.values(), key=lambda entry: (entry[1].first, entry[1].covers)):
        yield link


def parse(body: Body) -> Iterator[Rows | Reject]:
    layout = HALF_MONTH if re.match(r"(?i)cnsfails\d{6}[ab]", body.name) else OLDER
    with body.path.open("rb") as file:
        is_text = file.read(len(TEXT)) == TEXT
    if is_text:
        yield from delimited.read(lines.read_file(body.path), layout)
        return
    for member in zipped.members(body):
        if member.ending not in (".txt", ""):
            raise FormatError(f"{body.name} holds {member.name!r}, which is not a text of fails", member=member.index)
        yield from delimited.read(zipped.pieces(member), layout, member=member.index)


def reread(text: str) -> dict[str, Any]:
    """One line as a row, read field by field. An audit compares it with what `parse` read by whole columns."""
    day, cusip, symbol, quantity, rest = text.split("|", 4)
    description, price = rest.rsplit("|", 1)
    return {
        "settlement_date": date(int(day[:4]), int(day[4:6]), int(day[6:])),
        "cusip": cusip,
        "symbol": symbol,
        "quantity": int(quantity),
        "description": description,
        "price": None if price in (".", "") else Decimal(price),
    }


def expected(day: date) -> Expected:
    """The newest half-month that should be out by that day, one week after its usual day."""
    month = dates.month(day).first
    before, earlier = dates.add_months(month, -1), dates.add_months(month, -2)
    choices = (
        Expected(_covers(before, "b"), month.replace(day=23)),
        Expected(_covers(before, "a"), month.replace(day=7)),
        Expected(_covers(earlier, "b"), before.replace(day=23)),
    )
    return next(choice for choice in choices if choice.due <= day)


def _make_link(url: str, match: re.Match[str]) -> Link:
    if match["quarter"]:
        year, number = int(match["old_year"]), int(match["quarter"])
        quarter = dates.quarter(date(year, number * 3, 1))
        return Link(url, f"{year}/q{number}", quarter.first, quarter.last)
    half = match["half"].lower()
    month = date(int(match["year"]), int(match["month"]), 1)
    period = dates.half_month(month if half == "a" else month.replace(day=15))
    return Link(url, _covers(month, half), period.first, period.last)


def _is_small(anchor: html.Anchor) -> bool:
    """Whether the link is to the file of balances below 10,000 shares, by its text or its name."""
    is_other = re.search(NAME, f"/{anchor.match['stem']}.zip")
    return not is_other and bool(SMALL_BALANCES.search(f"{anchor.match[0]} {anchor.text}"))


def _make_small_link(anchor: html.Anchor) -> Link:
    name = re.sub(r"[^a-z0-9]+", "-", anchor.match["stem"].lower()).strip("-")
    covers = f"2008/below-10000/{name}"
    return Link(anchor.url, covers, SMALL_BALANCES_FROM, SMALL_BALANCES_TO, is_supplement=True)


def _covers(month: date, half: str) -> str:
    return f"{month:%Y/%m}/{half}"


source = Batch(
    name="sec_ftd",
    title="SEC fails to deliver",
    home=INDEX,
    datasets=(sec_ftd,),
    discover=discover,
    parse=parse,
    reread=reread,
    parser="2",  # 1 also loaded rows of other days
    hosts=("www.sec.gov",),
    begins_with=(PACKED, TEXT),
    least_links=100,  # there are more than 400 half-months and quarters since 2004
    cron="17 11 * * *",
    expected=expected,
    outside=OutsideRows.OWNER_ONLY,
    max_bytes=256 << 20,
    requests_per_second=2.0,
    contact_required=True,
)
