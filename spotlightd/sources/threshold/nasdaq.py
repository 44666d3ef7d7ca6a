"""Nasdaq's threshold list: one text a settlement day since 2005-01-07, posted at 23:00 New York.

- A day without a file is answered with a page of the site, sometimes with status 200. So is a client that asks too fast, by one
  public author's word. The two cannot be told apart, so a page is a failure that is tried again, and never "there is no list".
- The real list of 2026-07-27 has 56 securities, CR LF at the ends of lines, and was made at 23:00:05.
- Before 2014-11-17 it also had securities that are traded over the counter.
"""

from __future__ import annotations

from datetime import date

from spotlightd import Batch, OutsideRows, threshold, threshold_lists
from spotlightd.sources.threshold.lists import HEADERS, MOST_BYTES, expected, make_discover, make_parse

FIRST = date(2005, 1, 7)


def make_address(day: date) -> str:
    return f"https://www.nasdaqtrader.com/dynamic/symdir/regsho/nasdaqth{day:%Y%m%d}.txt"


source = Batch(
    name="threshold_nasdaq",
    title="Threshold list of Nasdaq",
    home="https://www.nasdaqtrader.com/trader.aspx?id=RegSHOThreshold",
    datasets=(threshold, threshold_lists),
    discover=make_discover(FIRST, make_address),
    parse=make_parse("Nasdaq", others=("Rule 3210",)),
    parser="1",
    hosts=("www.nasdaqtrader.com",),
    begins_with=HEADERS,
    cron="20 4,12 * * *",
    expected=expected,
    outside=OutsideRows.REFUSE,
    max_bytes=MOST_BYTES,
    requests_per_second=0.2,
)
