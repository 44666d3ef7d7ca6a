"""Trading halts of all American markets as NYSE reports them: a table with commas, for a month at a time since 2020.

`historical/download?haltDateFrom=2026-07-01&haltDateTo=2026-07-31` has the halts that began on these days. The table of the
halts that are open now (`current/download`) has the same header. Times are New York's, in whole seconds. A day is printed as
2026-07-24; public readers of 2021 saw 07/24/2026. A name with a comma stands in quotes twice; the inner ones are left out.
Reasons are words, such as `LULD Pause`. Only the exchanges of NYSE have their own resumption time in it, as the header says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

from spotlightd import Batch, Body, Expected, Link, OutsideRows, Pages, Reject, Rows, trading_halts
from spotlightd.parse import dates, new_york, records
from spotlightd.sources.short_interest.halt_fields import read_day, read_resumption, remove_quotes, require_fields

HOME = "https://www.nyse.com/trade/trading-halts"
DOWNLOAD = "https://www.nyse.com/api/trade-halts/historical/download"
FIRST = date(2020, 1, 1)
FIELDS = ("Halt Date", "Halt Time", "Symbol", "Name", "Exchange", "Reason", "Resume Date", "NYSE Resume Time")
DAYS = ("%Y-%m-%d", "%m/%d/%Y")
TIMES = tuple(f"{day} %H:%M:%S" for day in DAYS)


async def discover(_: Pages) -> AsyncIterator[Link]:
    for link in list_links(new_york.today()):
        yield link


def list_links(last: date) -> Iterator[Link]:
    """All months up to the one of that day."""
    month = dates.month(FIRST)
    while month.first <= last:
        url = f"{DOWNLOAD}?haltDateFrom={month.first}&haltDateTo={month.last}&symbol="
        yield Link(url, f"{month.first:%Y/%m}", month.first, month.last)
        month = dates.month(month.day_after)


def parse(body: Body) -> Iterator[Rows | Reject]:
    yield from records.convert(trading_halts, records.read_quoted(records.read_text(body), FIELDS), make_row)


def make_row(fields: Mapping[str, str]) -> dict[str, Any]:
    require_fields(fields, "Symbol", "Halt Date", "Halt Time", "Reason")
    resumption = fields["Resume Date"].strip()
    return {
        "halt_date": read_day(fields["Halt Date"].strip(), DAYS),
        "reporter": "NYSE",
        "symbol": fields["Symbol"].strip(),
        "halted_at": new_york.read_time(f"{fields['Halt Date'].strip()} {fields['Halt Time'].strip()}", *TIMES),
        "reason": fields["Reason"].strip(),
        "market": fields["Exchange"].strip(),
        "name": remove_quotes(fields["Name"].strip()),
        "threshold_price": None,
        "quotes_resume_at": None,
        "resume_date": read_day(resumption, DAYS),
        "trading_resumes_at": read_resumption(resumption, fields["NYSE Resume Time"].strip(), TIMES),
    }


def reread(text: str) -> dict[str, Any]:
    """One line as a row, without the reader of quotes: three fields from the left, four from the right. For an audit."""
    day, time, symbol, rest = text.split(",", 3)
    name, market, reason, resume_day, resume_time = rest.rsplit(",", 4)
    halted_at = datetime.fromisoformat(f"{_to_iso(day)} {time}").replace(tzinfo=new_york.NEW_YORK)
    resumes_at = f"{_to_iso(resume_day)} {resume_time}" if resume_time else ""
    return {
        "halt_date": halted_at.date(),
        "reporter": "NYSE",
        "symbol": symbol,
        "halted_at": halted_at.astimezone(UTC),
        "reason": reason,
        "market": market,
        "name": name.strip('" '),
        "threshold_price": None,
        "resume_date": date.fromisoformat(_to_iso(resume_day)) if resume_day else None,
        "quotes_resume_at": None,
        "trading_resumes_at": datetime.fromisoformat(resumes_at).replace(tzinfo=new_york.NEW_YORK).astimezone(UTC)
        if resumes_at
        else None,
    }


def _to_iso(day: str) -> str:
    return f"{day[6:]}-{day[:2]}-{day[3:5]}" if "/" in day else day


def expected(day: date) -> Expected:
    """The month of the third business day before: halts are there within minutes, and some months begin with holidays."""
    before = dates.add_business_days(day, -3)
    return Expected(f"{before:%Y/%m}", dates.add_business_days(before.replace(day=1), 3))


source = Batch(
    name="nyse_trading_halts",
    title="NYSE trading halts",
    home=HOME,
    datasets=(trading_halts,),
    discover=discover,
    parse=parse,
    reread=reread,
    parser="1",
    hosts=("www.nyse.com",),
    begins_with=(b"Halt Date,", b"\xef\xbb\xbfHalt Date,"),
    least_links=80,
    cron="40 11,23 * * 1-6",
    expected=expected,
    outside=OutsideRows.OWNER_ONLY,
    max_bytes=16 << 20,
    requests_per_second=0.2,
    rejects_allowed=0.01,
)
