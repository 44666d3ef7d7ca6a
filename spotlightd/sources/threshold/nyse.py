"""The threshold lists of NYSE, NYSE American and NYSE Arca: one text a settlement day for the three, since 2005.

- One request without a market gives the three lists together, so NYSE is asked once a day and not three times. The market
  of a line is its category. One with another market's name is refused: nobody knows whose list it would be.
- The service invents an answer for a day without a list: the header and a time that ends 210500. An empty list can look the
  same. So it is "empty or absent", and no other day than a settlement day that is over is asked for.
- The host shuts clients out for an hour after 55 to 80 quick requests, by three public authors' word: one request in five
  seconds.
- NYSE American was called NYSE MKT, NYSE Amex and NYSE Alternext before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date

from spotlightd import Batch, Body, OutsideRows, Reject, Rows, threshold, threshold_lists
from spotlightd.parse import stamped
from spotlightd.parse.stamped import StampedList
from spotlightd.sources.threshold import lists

FIRST = date(2005, 1, 3)
MARKETS = ("NYSE", "NYSE American", "NYSE Arca")
FORMER = {
    "NYSE MKT": "NYSE American", "NYSE Amex": "NYSE American", "NYSE Alternext": "NYSE American", "Arca": "NYSE Arca",
}  # fmt: skip
INVENTED = "210500"


def make_address(day: date) -> str:
    return f"https://www.nyse.com/api/regulatory/threshold-securities/download?selectedDate={day}&market="


def parse(body: Body) -> Iterator[Rows | Reject]:
    listed = stamped.read_list(body.path, lists.FIELDS, dropped=lists.FILLERS, loose="Security Name")
    yield from listed.rejects
    securities = []
    for entry in listed.entries:
        category = entry.fields["Market Category"]
        market = FORMER.get(category, category)
        if market in MARKETS:
            securities.append(lists.read_security(entry, market))
        else:
            yield Reject(
                0, entry.line, entry.text, f"{category[:40]!r} is no market of this list: {', '.join(MARKETS)}"
            )
    document = lists.check_time(listed, lists.read_day(body.name))
    yield from lists.make_rows(replace(document, status_if_empty=_status_if_empty(listed)), securities, MARKETS)


def _status_if_empty(listed: StampedList) -> str:
    is_invented = listed.printed_at is not None and f"{listed.printed_at:%H%M%S}" == INVENTED
    return "empty_or_absent" if is_invented else "empty"


source = Batch(
    name="threshold_nyse",
    title="Threshold lists of NYSE, NYSE American and NYSE Arca",
    home="https://www.nyse.com/regulation/threshold-securities",
    datasets=(threshold, threshold_lists),
    discover=lists.make_discover(FIRST, make_address),
    parse=parse,
    parser="1",
    hosts=("www.nyse.com",),
    begins_with=lists.HEADERS,
    cron="35 6,14 * * *",
    expected=lists.expected,
    outside=OutsideRows.REFUSE,
    max_bytes=lists.MOST_BYTES,
    requests_per_second=0.2,
)
