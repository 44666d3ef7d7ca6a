"""The OCC's threshold list: those of all exchanges in one text, each settlement day in the evening, for four to six weeks.

It checks the lists of the exchanges. Its securities are in a dataset of their own, so nobody counts them twice. Its category is
Nasdaq's letter or the name of the exchange. A line with another one is refused: nobody knows which list it would check.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import date, datetime, timedelta

from spotlightd import Batch, Body, Link, OutsideRows, Pages, Reject, Rows, threshold_lists, threshold_occ
from spotlightd.parse import stamped
from spotlightd.parse.new_york import NEW_YORK
from spotlightd.parse.stamped import Entry
from spotlightd.sources.threshold import lists
from spotlightd.sources.threshold.lists import ListDocument

PROBED_DAYS = 40
MARKET = "OCC"
MARKETS = {
    "Q": "Nasdaq", "G": "Nasdaq", "S": "Nasdaq",
    "NYSE": "NYSE",
    "NYSE American": "NYSE American", "NYSE MKT": "NYSE American",
    "NYSE Arca": "NYSE Arca",
    "BZX": "Cboe BZX", "Cboe BZX": "Cboe BZX",
    "U": "FINRA OTC", "u": "FINRA OTC",
}  # fmt: skip


def make_address(day: date) -> str:
    return f"https://marketdata.theocc.com/threshold-securities?reportDate={day:%Y%m%d}"


async def discover(_: Pages) -> AsyncIterator[Link]:
    for day in lists.list_days(datetime.now(NEW_YORK).date() - timedelta(days=PROBED_DAYS)):
        yield Link(make_address(day), f"{day:%Y/%m/%d}", day, day, is_probe=True)


def parse(body: Body) -> Iterator[Rows | Reject]:
    listed = stamped.read_list(
        body.path, lists.FIELDS, dropped=(*lists.FILLERS, "Rule 3210", "Flag2"), loose="Security Name"
    )
    yield from listed.rejects
    document = lists.check_time(listed, lists.read_day(body.name))
    known = [entry for entry in listed.entries if entry.fields["Market Category"] in MARKETS]
    for entry in listed.entries:
        if entry not in known:
            category = entry.fields["Market Category"]
            yield Reject(0, entry.line, entry.text, f"{category[:40]!r} is no category that is known here")
    if known:
        yield lists.make_batch(threshold_occ, [_make_row(document, entry) for entry in known])
    yield lists.make_lists(document, {MARKET: len(known)})


def _make_row(document: ListDocument, entry: Entry) -> dict[str, object]:
    fields = entry.fields
    return {
        "list_date": document.day, "symbol": lists.normalize_symbol(fields["Symbol"]), "symbol_printed": fields["Symbol"],
        "security_name": fields["Security Name"], "market_category": fields["Market Category"],
        "market": MARKETS[fields["Market Category"]], "printed_at": document.printed_at, "line": entry.line,
    }  # fmt: skip


source = Batch(
    name="threshold_occ",
    title="Threshold lists as the OCC repeats them",
    home="https://www.theocc.com/market-data/market-data-reports/other-market-data-info/threshold-securities",
    datasets=(threshold_occ, threshold_lists),
    discover=discover,
    parse=parse,
    parser="1",
    hosts=("marketdata.theocc.com",),
    begins_with=lists.HEADERS,
    cron="5 5,13 * * *",
    expected=lists.expected,
    outside=OutsideRows.REFUSE,
    max_bytes=lists.MOST_BYTES,
    requests_per_second=0.5,
    page_is_absent=True,
)
