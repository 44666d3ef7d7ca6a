"""The threshold list of the Chicago Stock Exchange, since 2005: a text a settlement day, `CHXth20100104.txt`. It has ended.

Its form is that of the other exchanges, and the category is always `MW`.
"""

from __future__ import annotations

from spotlightd import Batch, OutsideRows, threshold, threshold_lists
from spotlightd.sources.threshold.lists import HEADERS, MOST_BYTES, expected, list_nothing, make_parse

source = Batch(
    name="threshold_chx",
    title="Threshold list of the Chicago Stock Exchange",
    home="https://www.nyse.com/markets/nyse-texas",
    datasets=(threshold, threshold_lists),
    discover=list_nothing,
    parse=make_parse("CHX"),
    parser="1",
    hosts=("www.chx.com",),
    begins_with=HEADERS,
    cron="0 6 1 * *",
    expected=expected,
    outside=OutsideRows.REFUSE,
    max_bytes=MOST_BYTES,
    suspended="The exchange ended its list; no address of its files, CHXth20100104.txt, is known any more.",
)
