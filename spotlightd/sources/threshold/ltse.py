"""The threshold list of the Long-Term Stock Exchange, which has never published one. A list would have the form of the others."""

from __future__ import annotations

from spotlightd import Batch, OutsideRows, threshold, threshold_lists
from spotlightd.sources.threshold.lists import HEADERS, MOST_BYTES, expected, list_nothing, make_parse

source = Batch(
    name="threshold_ltse",
    title="Threshold list of the Long-Term Stock Exchange",
    home="https://ltse.com",
    datasets=(threshold, threshold_lists),
    discover=list_nothing,
    parse=make_parse("LTSE"),
    parser="1",
    hosts=("ltse.com",),
    begins_with=HEADERS,
    cron="0 6 1 * *",
    expected=expected,
    outside=OutsideRows.REFUSE,
    max_bytes=MOST_BYTES,
    suspended="The securities that LTSE lists are listed elsewhere too, and are on the lists of those markets; no list of its own is known.",
)
