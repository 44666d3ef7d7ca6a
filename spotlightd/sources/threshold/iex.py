"""The threshold list of IEX, which lists no security any more. A list would have the form of the others."""

from __future__ import annotations

from spotlightd import Batch, OutsideRows, threshold, threshold_lists
from spotlightd.sources.threshold.lists import HEADERS, MOST_BYTES, expected, list_nothing, make_parse

source = Batch(
    name="threshold_iex",
    title="Threshold list of IEX",
    home="https://www.iex.io",
    datasets=(threshold, threshold_lists),
    discover=list_nothing,
    parse=make_parse("IEX"),
    parser="1",
    hosts=("www.iex.io",),
    begins_with=HEADERS,
    cron="0 6 1 * *",
    expected=expected,
    outside=OutsideRows.REFUSE,
    max_bytes=MOST_BYTES,
    suspended="IEX has listed no security since 2019, and the service that had its lists was closed in 2024.",
)
