"""FINRA's threshold list as its site had it, from 2014-11-17 to the end of 2015: a text a settlement day. No longer served.

Names are like otc-thresh20150410_201504102300.txt: the settlement day, then when it was made, in New York. A list that was
amended has a later time in its name. The texts have no line with the time, and five fields. Five real lines are known, from a
comment in a public program (`ldaniels528/shocktrade.js`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

from spotlightd import Batch, Body, FormatError, OutsideRows, Reject, Rows, threshold, threshold_lists
from spotlightd.parse import stamped
from spotlightd.sources.threshold import lists
from spotlightd.sources.threshold.lists import ListDocument

FIRST = date(2014, 11, 17)
MARKET = "FINRA OTC"
NAME = re.compile(r"otc-thresh(\d{8})_(\d{12})\.txt$")


def parse(body: Body) -> Iterator[Rows | Reject]:
    match = NAME.search(body.name)
    if match is None:
        raise FormatError(f"the name {body.name[:80]!r} is not like otc-thresh20150410_201504102300.txt")
    listed = stamped.read_list(body.path, (*lists.FIELDS, "Rule 4320"), loose="Security Name", is_stamped=False)
    yield from listed.rejects
    printed_at = stamped.read_time(match[2], "%Y%m%d%H%M")
    securities = [lists.read_security(entry, MARKET) for entry in listed.entries]
    document = ListDocument(lists.read_day(match[1]), printed_at, listed.last_line)
    yield from lists.make_rows(document, securities, (MARKET,))


source = Batch(
    name="threshold_finra_text",
    title="Threshold list of FINRA, over the counter, as text",
    home="https://otce.finra.org/RegSHO/Archives",
    datasets=(threshold, threshold_lists),
    discover=lists.list_nothing,
    parse=parse,
    parser="1",
    hosts=("otce.finra.org",),
    begins_with=lists.HEADERS,
    cron="0 6 1 * *",
    expected=lists.expected,
    outside=OutsideRows.REFUSE,
    max_bytes=lists.MOST_BYTES,
    suspended="FINRA has taken these texts, 2014-11 to 2015, from its site; its API begins with 2016-01-04.",
)
