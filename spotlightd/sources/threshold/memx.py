"""The threshold list of MEMX, which has never published one. A list would have the form of the others."""

from __future__ import annotations

from spotlightd import Batch, OutsideRows, threshold, threshold_lists
from spotlightd.sources.threshold.lists import HEADERS, MOST_BYTES, expected, list_nothing, make_parse

source = Batch(
    name="threshold_memx",
    title="Threshold list of MEMX",
    home="https://memx.com",
    datasets=(threshold, threshold_lists),
    discover=list_nothing,
    parse=make_parse("MEMX"),
    parser="1",
    hosts=("memx.com",),
    begins_with=HEADERS,
    cron="0 6 1 * *",
    expected=expected,
    outside=OutsideRows.REFUSE,
    max_bytes=MOST_BYTES,
    suspended="MEMX lists no security of its own, so it publishes no threshold list: its names are on the lists of their own markets.",
)
