"""Daily short volume off the exchanges: one piped text a day for each facility that reports to FINRA, and one for their sum.

Addresses are computed: `CNMSshvol20260515.txt`. The file says in its last line how many records it has; a facility without
trades has a header and `0`. The volumes of 2026 have six decimals, because fractions of shares are reported, and are whole
numbers before. Lines end with CR LF as served.

| file | facility | code | from |
|---|---|---|---|
| FNSQ | FINRA/Nasdaq, Carteret | Q | 2009-08-03 |
| FNYX | FINRA/NYSE | N | 2009-08-03 |
| FNRA | alternative display facility | D | 2009-08-03, some days missing |
| FORF | over the counter, securities that no exchange lists | O | 2009-08-03 |
| FNQC | FINRA/Nasdaq, Chicago | B | 2018-08-01 |
| CNMS | the sum of FNSQ, FNYX, FNQC and FNRA by security | several | 2018-08-01 |

How far back the publisher keeps them is told differently: 2019 on, or the dates above (a check of September 2026). All are
requested once; what is gone answers 403 and is absent. One public reader says that the oldest files lack ShortExemptVolume,
so a header without it is accepted, and the volume is then empty.

When: files of 2023 to 2026 were written at 17:17 to 17:18 in New York on the day of the trades. Files from before 2021 were
written again in 2021, so corrections of that time cannot be seen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import date, timedelta
from typing import Any

from spotlightd import Batch, Body, Expected, Link, OutsideRows, Pages, Reject, Rows, short_volume
from spotlightd.calendars.trading import trading_day_before, trading_days
from spotlightd.parse import delimited, new_york
from spotlightd.sources.short_interest import volume_files

HOME = "https://www.finra.org/finra-data/browse-catalog/short-sale-volume-data/daily-short-sale-volume-files"
FOLDER = "https://cdn.finra.org/equity/regsho/daily"
BEGINNINGS = {
    "CNMS": date(2018, 8, 1),
    "FNSQ": date(2009, 8, 3),
    "FNYX": date(2009, 8, 3),
    "FNRA": date(2009, 8, 3),
    "FORF": date(2009, 8, 3),
    "FNQC": date(2018, 8, 1),
}

LAYOUT = delimited.Layout(
    dataset=short_volume,
    separator="|",
    take={
        "Date": "trade_date",
        "Symbol": "symbol",
        "ShortVolume": "short_volume",
        "ShortExemptVolume": "short_exempt_volume",
        "TotalVolume": "total_volume",
        "Market": "market",
    },
    days="%Y%m%d",
    trailers=(delimited.Trailer(""),),
    constants={"facility": ""},
)


async def discover(_: Pages) -> AsyncIterator[Link]:
    for link in list_links(new_york.today()):
        yield link


def list_links(last: date) -> Iterator[Link]:
    """The files of all trading days up to that one."""
    for facility, first in BEGINNINGS.items():
        for day in trading_days(first, last):
            url = f"{FOLDER}/{facility}shvol{day:%Y%m%d}.txt"
            yield Link(url, f"{day:%Y/%m/%d}/{facility.lower()}", day, day, is_probe=True)


def parse(body: Body) -> Iterator[Rows | Reject]:
    return volume_files.read_volumes(body, LAYOUT, BEGINNINGS)


def reread(text: str) -> dict[str, Any]:
    return volume_files.reread_volumes(text, [*LAYOUT.take.values()])


def expected(day: date) -> Expected:
    """The sum of the last trading day before."""
    before = trading_day_before(day)
    return Expected(f"{before:%Y/%m/%d}/cnms", before + timedelta(days=1))


source = Batch(
    name="finra_short_volume",
    title="FINRA daily short volume",
    home=HOME,
    datasets=(short_volume,),
    discover=discover,
    parse=parse,
    reread=reread,
    parser="1",
    hosts=("cdn.finra.org",),
    begins_with=b"Date|Symbol|",
    forbidden_is_absent=True,
    least_links=10_000,
    cron="45 22 * * 1-5",
    expected=expected,
    outside=OutsideRows.REFUSE,
    max_bytes=16 << 20,
    requests_per_second=1.0,
)
