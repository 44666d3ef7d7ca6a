"""Short-sale circuit breakers: one list a day by Nasdaq, of securities that it and other exchanges list.

Addresses are computed: `shorthalts20260820.txt`. A list holds the triggers of its own day and of the trading day before,
because the price test lasts until the end of the next day. The publisher's page describes pipes; public readers of 2026 see
commas, with quotes around names that hold one. The last line is the time in New York at which the list was made: about 16:30,
or early in the next morning. A missing list is answered with a page of the site and status 200. The site turns visitors away
after a few requests, so these are slow. The list of a day grows until its evening, so it is fetched from the next day on.

Triggers are printed as `8/19/2026 9:30:00 AM`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

from spotlightd import Batch, Body, Expected, FormatError, Link, OutsideRows, Pages, Reject, Rows, short_halts
from spotlightd.calendars.trading import trading_day_before, trading_days
from spotlightd.parse import new_york, records, stamped
from spotlightd.sources.short_interest.halt_fields import remove_quotes, require_fields

HOME = "https://www.nasdaqtrader.com/trader.aspx?id=ShortSaleCircuitBreaker"
FOLDER = "https://www.nasdaqtrader.com/dynamic/symdir/shorthalts"
FIRST = date(2011, 2, 28)  # the day from which exchanges had to follow the rule
NAME = re.compile(r"shorthalts(\d{4})(\d\d)(\d\d)\.txt")
FIELDS = ("Symbol", "Security Name", "Market Category", "Trigger Time")


async def discover(_: Pages) -> AsyncIterator[Link]:
    for link in list_links(trading_day_before(new_york.today())):
        yield link


def list_links(last: date) -> Iterator[Link]:
    """The lists of all trading days up to that one."""
    for day in trading_days(FIRST, last):
        yield Link(f"{FOLDER}/shorthalts{day:%Y%m%d}.txt", f"{day:%Y/%m/%d}", day, day, is_probe=True)


def parse(body: Body) -> Iterator[Rows | Reject]:
    name = NAME.fullmatch(body.name)
    if name is None:
        raise FormatError(f"{body.name} is not the name of a list of circuit breakers: it tells no day")
    printed = stamped.read_list(body.path, FIELDS, loose="Security Name")
    yield from printed.rejects
    entries = (records.Record(entry.line, entry.text, entry.fields) for entry in printed.entries)
    day = date(int(name[1]), int(name[2]), int(name[3]))
    yield from records.convert(short_halts, entries, partial(make_row, day, printed.printed_at))


def make_row(day: date, printed_at: datetime | None, fields: Mapping[str, str]) -> dict[str, Any]:
    require_fields(fields, "Symbol", "Trigger Time")
    return {
        "list_date": day,
        "symbol": fields["Symbol"],
        "security_name": remove_quotes(fields["Security Name"]),
        "market_category": fields["Market Category"],
        "triggered_at": new_york.read_time(fields["Trigger Time"], "%m/%d/%Y %I:%M:%S %p"),
        "printed_at": printed_at.astimezone(UTC) if printed_at else None,
    }


def reread(text: str) -> dict[str, Any]:
    """What one line says, for an audit; days and times of the list are in its name and in its last line."""
    mark = "|" if "|" in text else ","
    symbol, rest = text.split(mark, 1)
    name, category, time = rest.rsplit(mark, 2)
    day, clock, half = time.split(" ")
    month, number, year = map(int, day.split("/"))
    hour, minute, second = map(int, clock.split(":"))
    moment = datetime(year, month, number, hour % 12 + 12 * (half == "PM"), minute, second, tzinfo=new_york.NEW_YORK)
    return {
        "symbol": symbol,
        "security_name": name.strip('"'),
        "market_category": category,
        "triggered_at": moment.astimezone(UTC),
    }


def expected(day: date) -> Expected:
    """The list of the last trading day before."""
    before = trading_day_before(day)
    return Expected(f"{before:%Y/%m/%d}", before + timedelta(days=1))


source = Batch(
    name="nasdaq_short_halts",
    title="Nasdaq short-sale circuit breakers",
    home=HOME,
    datasets=(short_halts,),
    discover=discover,
    parse=parse,
    reread=reread,
    parser="1",
    hosts=("www.nasdaqtrader.com",),
    begins_with=b"Symbol",
    page_is_absent=True,
    least_links=3_000,
    cron="35 11 * * 2-6",
    expected=expected,
    outside=OutsideRows.REFUSE,
    max_bytes=8 << 20,
    requests_per_second=0.2,
    rejects_allowed=0.01,
)
