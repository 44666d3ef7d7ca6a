"""The threshold list of Cboe BZX, Cboe's only market with listings: one text a settlement day since 2014-08-20.

It is posted the next morning at 03:02 New York. Until then the address answers 403, as for a day without a list.
"""

from __future__ import annotations

from datetime import date

from spotlightd import Batch, OutsideRows, threshold, threshold_lists
from spotlightd.sources.threshold.lists import HEADERS, MOST_BYTES, expected, make_discover, make_parse

FIRST = date(2014, 8, 20)
FOLDER = "https://cdn.cboe.com/resources/us/equities/market-statistics/reg-sho-threshold"


def make_address(day: date) -> str:
    return f"{FOLDER}/bzx_equities_reg_sho_threshold_{day:%Y%m%d}.txt"


source = Batch(
    name="threshold_cboe",
    title="Threshold list of Cboe BZX",
    home="https://www.cboe.com/us/equities/market_statistics/reg_sho_threshold/",
    datasets=(threshold, threshold_lists),
    discover=make_discover(FIRST, make_address),
    parse=make_parse("Cboe BZX"),
    parser="1",
    hosts=("cdn.cboe.com",),
    begins_with=HEADERS,
    cron="10 9,15 * * *",
    expected=expected,
    outside=OutsideRows.REFUSE,
    max_bytes=MOST_BYTES,
    requests_per_second=0.5,
    forbidden_is_absent=True,
)
