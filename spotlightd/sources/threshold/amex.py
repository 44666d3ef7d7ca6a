"""The threshold list of the American Stock Exchange, 2005 to 2008: a text a settlement day, `AMEXth20050601.txt`. It has ended.

Its form is that of the other exchanges. The exchange is NYSE American now, whose list is in `threshold_nyse`.
"""

from __future__ import annotations

from spotlightd import Batch, OutsideRows, threshold, threshold_lists
from spotlightd.sources.threshold.lists import HEADERS, MOST_BYTES, expected, list_nothing, make_parse

source = Batch(
    name="threshold_amex",
    title="Threshold list of the American Stock Exchange",
    home="https://www.nyse.com/markets/nyse-american",
    datasets=(threshold, threshold_lists),
    discover=list_nothing,
    parse=make_parse("Amex"),
    parser="1",
    hosts=("www.amex.com",),
    begins_with=HEADERS,
    cron="0 6 1 * *",
    expected=expected,
    outside=OutsideRows.REFUSE,
    max_bytes=MOST_BYTES,
    suspended="The exchange became NYSE American in 2008; no address of its files, AMEXth20050601.txt, is known any more.",
)
