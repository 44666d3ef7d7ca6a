"""Fails to deliver: shares of each security that were still owed at the end of a settlement day, since 2004.

The SEC posts them twice a month as a zip of piped text: `a` for settlement days 1 to 14, `b` for 15 to the end; the
years to mid-2009 by quarters, each zip holding a text for each month. The folders changed five times, so the file
names decide. A suffix (`cnsfails201910a_0.zip`) marks a file that was posted again.

Known of the texts: six columns since the start; LF in the files of 2020 and 2021, CR LF in those of 2004; the last
two lines count records and shares, and both held in 19 half-months of 2020 and 2021. Not known: whether all monthly
texts of 2004 to 2009 have both lines (some are said to lack the second), so there they are checked only if present.
Since 2022 the text often has no ending in its name. No (day, CUSIP, symbol) stood twice in any of those 19 files;
if one ever does, both rows are kept, as the publisher has it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from spotlightd import Batch, Body, Column, Dataset, Expected, FormatError, Link, Pages, Reject, Rhythm, Rows
from spotlightd.parse import delimited, html, zipped

INDEX = "https://www.sec.gov/data-research/sec-markets-data/fails-deliver-data"
NAME = (
    r"(?i)/(?:cnsfails(?P<year>20\d\d)(?P<month>0[1-9]|1[0-2])(?P<half>[ab])"
    r"|cnsp_sec_fails_(?P<old_year>20\d\d)q(?P<quarter>[1-4]))(?:_(?P<again>\d{1,3}))?\.zip$"
)

sec_ftd = Dataset(
    name="sec_ftd",
    title="SEC fails to deliver",
    publisher="U.S. Securities and Exchange Commission",
    about="For each settlement day and security: how many shares were owed and not delivered at the National Securities "
    "Clearing Corporation, all its members taken together.",
    columns=(
        Column("settlement_date", "Date", "the settlement day at whose end the shares were still owed"),
        Column("cusip", "FixedString(9)", "the security's CUSIP number; leading zeros and letters belong to it"),
        Column(
            "symbol",
            "LowCardinality(String)",
            "ticker as printed that day; may be empty, and may pass to another company",
        ),
        Column(
            "quantity",
            "UInt64",
            "balance still undelivered that day, old fails and new together; not the new fails of the day",
            unit="shares",
        ),
        Column("description", "String", "the security's name as printed, cut by the publisher at 30 characters"),
        Column(
            "price",
            "Nullable(Decimal(18, 4))",
            "closing price of the day before; empty where the publisher knows none or it is a cent or less",
            unit="USD",
        ),
    ),
    key=("settlement_date", "cusip", "symbol"),
    order=("symbol", "settlement_date", "cusip"),
    partition="toYear(settlement_date)",
    time="settlement_date",
    symbol="symbol",
    rhythm=Rhythm(
        "twice a month: days 1 to 14 near the end of that month, the rest near the middle of the next",
        stale_days=50,
        rows=(1_000, 2_000_000),
    ),
    licence="Public domain (work of the United States government)",
    notes=(
        "A balance, not a flow: adding up the days counts the same undelivered shares again and again.",
        "It tells neither who failed nor why nor since when. Fails of long and of short sellers stand in one number.",
        "No row means a balance of zero from 2009-07-01 on, and before that a balance below 10,000 shares.",
        "The price is the close of the day before, so shares times price is an estimate. Hardly any before April 2007.",
        "The SEC replaces files without notice; what was published earlier stays readable here with as_of.",
    ),
)

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
QUARTER = replace(HALF_MONTH, strict=False)


async def discover(pages: Pages) -> AsyncIterator[Link]:
    """All files of the index page, oldest first; of a slice that was posted again only the newest."""
    found: dict[str, tuple[int, Link]] = {}
    for anchor in html.links(await pages.page(INDEX), INDEX, NAME):
        link, again = _link(anchor.url, anchor.match), int(anchor.match["again"] or -1)
        if link.covers not in found or found[link.covers][0] < again:
            found[link.covers] = (again, link)
    for _, link in sorted(found.values(), key=lambda one: one[1].first):
        yield link


def parse(body: Body) -> Iterator[Rows | Reject]:
    layout = QUARTER if body.name.lower().startswith("cnsp_sec_fails_") else HALF_MONTH
    for member in zipped.members(body):
        if member.ending not in (".txt", ""):
            raise FormatError(f"{body.name} holds {member.name!r}, which is no text of fails", member=member.index)
        yield from delimited.read(zipped.pieces(member), layout, member=member.index)


def reread(text: str) -> dict[str, Any]:
    """One line as a row, by hand: an audit compares it with what `parse` made of whole columns."""
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
    """The newest half-month that is late unless it is there: a week is granted after the usual day."""
    month = day.replace(day=1)
    before = _earlier(month)
    choices = (
        Expected(_covers(before, "b"), month.replace(day=23)),
        Expected(_covers(before, "a"), month.replace(day=7)),
        Expected(_covers(_earlier(before), "b"), before.replace(day=23)),
    )
    return next(choice for choice in choices if choice.due <= day)


def _link(url: str, match: re.Match[str]) -> Link:
    if match["quarter"]:
        year, quarter = int(match["old_year"]), int(match["quarter"])
        first = date(year, quarter * 3 - 2, 1)
        return Link(url, f"{year}/q{quarter}", first, _last(date(year, quarter * 3, 1)))
    month = date(int(match["year"]), int(match["month"]), 1)
    half = match["half"].lower()
    if half == "a":
        return Link(url, _covers(month, half), month, month.replace(day=14))
    return Link(url, _covers(month, half), month.replace(day=15), _last(month))


def _covers(month: date, half: str) -> str:
    return f"{month:%Y/%m}/{half}"


def _last(month: date) -> date:
    return (month.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)


def _earlier(month: date) -> date:
    return (month - timedelta(days=1)).replace(day=1)


source = Batch(
    name="sec_ftd",
    title="SEC fails to deliver",
    home=INDEX,
    datasets=(sec_ftd,),
    discover=discover,
    parse=parse,
    reread=reread,
    parser="1",
    hosts=("www.sec.gov",),
    begins_with=b"PK",
    cron="17 11 * * *",
    expected=expected,
    max_bytes=256 << 20,
    requests_per_second=2.0,
    contact_required=True,
)
