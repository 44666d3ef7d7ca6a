"""Daily short volume of the exchanges of the NYSE group: one piped text a day for each exchange.

Addresses are computed: `NYSEshvol/NYSEshvol2021/NYSEshvol202101/NYSEshvol20210104.txt`. In 2026 two public readers report
that the folder is there, with these six exchanges, and two that an address in it answered 404.

| file | exchange | code | from |
|---|---|---|---|
| NYSE, ARCA, Amex | NYSE, NYSE Arca, NYSE American | N, P, A | 2009-07-21 |
| National | NYSE National | C | 2018-05-14 |
| Chicago, Texas | NYSE Chicago, since 2025 NYSE Texas | M | 2019-11-04 |

Two headers: up to 2017 `Date|Symbol|Short Volume|Total Volume|Market`, then with `Short Exempt Volume` before the short volume.
Lines end with CR LF. There is no trailer, so a file that was cut at the end of a line cannot be told from a whole one. A day
without trades is a header alone, such as that of NYSE National on 2018-05-14, a week before it opened.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import date, timedelta
from typing import Any

from spotlightd import Batch, Body, Expected, Link, OutsideRows, Pages, Reject, Rows, short_volume
from spotlightd.calendars.trading import trading_day_before, trading_days
from spotlightd.parse import delimited, new_york
from spotlightd.sources.short_interest import volume_files

HOME = "https://ftp.nyse.com/ShortData/"
BEGINNINGS = {
    "NYSE": date(2009, 7, 21),
    "ARCA": date(2009, 7, 21),
    "Amex": date(2009, 7, 21),
    "National": date(2018, 5, 14),
    "Chicago": date(2019, 11, 4),
    "Texas": date(2025, 3, 31),
}

LAYOUT = delimited.Layout(
    dataset=short_volume,
    separator="|",
    take={
        "Date": "trade_date",
        "Symbol": "symbol",
        "Short Exempt Volume": "short_exempt_volume",
        "Short Volume": "short_volume",
        "Total Volume": "total_volume",
        "Market": "market",
    },
    days="%Y%m%d",
    constants={"facility": ""},
)


async def discover(_: Pages) -> AsyncIterator[Link]:
    for link in list_links(trading_day_before(new_york.today())):
        yield link


def list_links(last: date) -> Iterator[Link]:
    """The files of all trading days up to that one."""
    for exchange, first in BEGINNINGS.items():
        stem = f"{exchange}shvol"
        for day in trading_days(first, last):
            url = f"{HOME}{stem}/{stem}{day:%Y}/{stem}{day:%Y%m}/{stem}{day:%Y%m%d}.txt"
            yield Link(url, f"{day:%Y/%m/%d}/{exchange.lower()}", day, day, is_probe=True)


def parse(body: Body) -> Iterator[Rows | Reject]:
    return volume_files.read_volumes(body, LAYOUT, BEGINNINGS)


def reread(text: str) -> dict[str, Any]:
    return volume_files.reread_volumes(text, [*LAYOUT.take.values()])


def expected(day: date) -> Expected:
    """The file of NYSE of the last trading day but one: it is posted during the night."""
    before = trading_day_before(day - timedelta(days=1))
    return Expected(f"{before:%Y/%m/%d}/nyse", before + timedelta(days=2))


source = Batch(
    name="nyse_short_volume",
    title="NYSE group daily short volume",
    home=HOME,
    datasets=(short_volume,),
    discover=discover,
    parse=parse,
    reread=reread,
    parser="1",
    hosts=("ftp.nyse.com",),
    begins_with=b"Date|Symbol|",
    least_links=10_000,
    cron="20 11 * * 2-6",
    expected=expected,
    outside=OutsideRows.REFUSE,
    max_bytes=16 << 20,
    requests_per_second=0.5,
)
