"""Trading halts of all American markets as Nasdaq reports them: an RSS feed that can be asked for one day.

`rss.aspx?feed=tradehalts&haltdate=08072026` has the halts of a day, one year back. An item has its values in elements of the
publisher's own: HaltDate, HaltTime (New York, with thousandths), IssueSymbol, IssueName, Market (another public reader of 2026
finds Mkt), ReasonCode, PauseThresholdPrice, ResumptionDate, ResumptionQuoteTime, ResumptionTradeTime; those not known yet are
empty. The feed says in numItems how many items it has, which is checked. What an item repeats as HTML is not read.

Codes of reasons: https://www.nasdaqtrader.com/trader.aspx?id=TradeHaltCodes, such as T1 (news pending), LUDP (volatility pause),
H10 (suspended by the SEC).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from spotlightd import Batch, Body, Expected, FormatError, Link, OutsideRows, Pages, Reject, Rows, trading_halts
from spotlightd.calendars.trading import trading_day_before, trading_days
from spotlightd.parse import new_york, records
from spotlightd.sources.short_interest.halt_fields import read_day, read_resumption, require_fields

HOME = "https://www.nasdaqtrader.com/trader.aspx?id=TradeHalts"
FEED = "https://www.nasdaqtrader.com/rss.aspx?feed=tradehalts"
HISTORY = timedelta(days=364)
DAY = "%m/%d/%Y"
TIMES = (f"{DAY} %H:%M:%S.%f", f"{DAY} %H:%M:%S")


async def discover(_: Pages) -> AsyncIterator[Link]:
    for link in list_links(new_york.today()):
        yield link


def list_links(last: date) -> Iterator[Link]:
    """The feeds of all trading days of the year before that one."""
    for day in trading_days(last - HISTORY, last):
        yield Link(f"{FEED}&haltdate={day:%m%d%Y}", f"{day:%Y/%m/%d}", day, day, is_probe=True)


def parse(body: Body) -> Iterator[Rows | Reject]:
    feed = records.read_feed(records.read_text(body))
    published = feed.head.get("numItems", "")
    if not (published.isascii() and published.isdigit()):
        raise FormatError(f"the feed does not say how many items it has: numItems is {published[:40]!r}")
    if int(published) != len(feed.items):
        raise FormatError(f"the feed says that it has {int(published):,} items, but has {len(feed.items):,}")
    yield from records.convert(trading_halts, feed.items, make_row)


def make_row(fields: Mapping[str, str]) -> dict[str, Any]:
    require_fields(fields, "IssueSymbol", "HaltDate", "HaltTime", "ReasonCode")
    resumption = fields.get("ResumptionDate", "")
    return {
        "halt_date": read_day(fields["HaltDate"], (DAY,)),
        "reporter": "Nasdaq",
        "symbol": fields["IssueSymbol"],
        "halted_at": new_york.read_time(f"{fields['HaltDate']} {fields['HaltTime']}", *TIMES),
        "reason": fields["ReasonCode"],
        "market": fields.get("Market", "") or fields.get("Mkt", ""),
        "name": fields.get("IssueName", ""),
        "threshold_price": _read_price(fields.get("PauseThresholdPrice", "")),
        "resume_date": read_day(resumption, (DAY,)),
        "quotes_resume_at": read_resumption(resumption, fields.get("ResumptionQuoteTime", ""), TIMES),
        "trading_resumes_at": read_resumption(resumption, fields.get("ResumptionTradeTime", ""), TIMES),
    }


def _read_price(text: str) -> Decimal | None:
    if not text:
        return None
    try:
        price = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"PauseThresholdPrice is {text[:40]!r}, not a number") from None
    if not price.is_finite() or price != round(price, 4) or abs(price) >= 10**14:
        raise ValueError(f"PauseThresholdPrice is {text[:40]!r}, which does not fit Decimal(18, 4)")
    return round(price, 4)


def expected(day: date) -> Expected:
    """The feed of the last trading day before."""
    before = trading_day_before(day)
    return Expected(f"{before:%Y/%m/%d}", before + timedelta(days=1))


source = Batch(
    name="nasdaq_trading_halts",
    title="Nasdaq trading halts",
    home=HOME,
    datasets=(trading_halts,),
    discover=discover,
    parse=parse,
    parser="1",
    hosts=("www.nasdaqtrader.com",),
    begins_with=(b"<?xml", b"\xef\xbb\xbf<?xml", b"<rss"),
    page_is_absent=True,
    least_links=200,
    cron="50 11,23 * * 1-6",
    expected=expected,
    outside=OutsideRows.OWNER_ONLY,
    max_bytes=16 << 20,
    requests_per_second=0.2,
    rejects_allowed=0.01,
)
