"""What the sources of threshold lists share: which days to ask for, how the text lists are read, and the rows of a list.

The text lists of all exchanges have one form: a header, a security a line, and the time of their making in the last line. A
list is asked for from the day after its own (New York), when every exchange but Cboe has posted it. Lists exist for settlement
days only, so no other day is asked for: some exchanges answer for a holiday with a page, or with an empty list of their own
invention.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from spotlightd import Body, Dataset, Expected, FormatError, Link, Pages, Reject, Rows, threshold, threshold_lists
from spotlightd.calendars.united_states import (
    is_settlement_day,
    number_settlement_day,
    settlement_day_after,
    settlement_day_before,
    settlement_days,
)
from spotlightd.parse import columns, stamped
from spotlightd.parse.new_york import NEW_YORK
from spotlightd.parse.stamped import Entry, StampedList

FIELDS = ("Symbol", "Security Name", "Market Category", "Reg SHO Threshold Flag")
FILLERS = ("Filler", "")
HEADERS = (b"Symbol|", b"Symbol,")
"""First bytes of a text list: some were sent with commas for pipes."""

MOST_BYTES = 4 << 20
DUE_DAYS = 2
SEPARATORS = re.compile(r"[\s./-]+")
RULES = (("reg_sho_flag", "Reg SHO"), ("rule_4320", "Rule 4320"), ("rule_3210", "Rule 3210"))


@dataclass(frozen=True, slots=True)
class Security:
    """A line of a list. `flags` are values of `threshold` by column."""

    line: int
    text: str
    market: str
    symbol: str
    name: str
    category: str
    flags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ListDocument:
    """The list of a day: its line of the time or the last one, and what it is if it has no security."""

    day: date
    printed_at: datetime | None
    last_line: int
    status_if_empty: str = "empty"


def list_days(first: date, *, last: date | None = None, today: date | None = None) -> list[date]:
    """The settlement days from `first` to `last`, as far as they are over in New York."""
    over = (today or datetime.now(NEW_YORK).date()) - timedelta(days=1)
    return list(settlement_days(first, min(over, last or over)))


def make_discover(
    first: date, address: Callable[[date], str], *, post: Callable[[date], str] | None = None
) -> Callable[[Pages], AsyncIterator[Link]]:
    """A `discover` that yields the computed address of each settlement day's list since `first`."""

    async def discover(_: Pages) -> AsyncIterator[Link]:
        for day in list_days(first):
            yield Link(address(day), f"{day:%Y/%m/%d}", day, day, is_probe=True, post=post(day) if post else None)

    return discover


async def list_nothing(_: Pages) -> AsyncIterator[Link]:
    """The `discover` of a source without an address; it is suspended."""
    for link in tuple[Link, ...]():
        yield link


def expected(day: date) -> Expected:
    """The newest list that is at least two days old: all are out by then."""
    newest = settlement_day_before(day - timedelta(days=DUE_DAYS - 1))
    return Expected(f"{newest:%Y/%m/%d}", newest + timedelta(days=DUE_DAYS))


def read_day(name: str) -> date:
    """The settlement day in a document's name: nasdaqth20260727.txt, download?selectedDate=2026-07-27."""
    match = re.search(r"(?<!\d)(20\d\d)-?([01]\d)-?([0-3]\d)(?!\d)", name)
    try:
        if match is not None and is_settlement_day(day := date(*map(int, match.groups()))):
            return day
    except ValueError:
        pass
    raise FormatError(f"the name {name[:80]!r} has no settlement day, such as 20260727")


def make_parse(market: str, *, others: Sequence[str] = ()) -> Callable[[Body], Iterator[Rows | Reject]]:
    """The `parse` of a text list with securities of one market. `others`: fields of its header besides the common ones."""

    def parse(body: Body) -> Iterator[Rows | Reject]:
        day = read_day(body.name)
        listed = stamped.read_list(body.path, (*FIELDS, *others), dropped=FILLERS, loose="Security Name")
        yield from listed.rejects
        securities = [read_security(entry, market) for entry in listed.entries]
        yield from make_rows(check_time(listed, day), securities, (market,))

    return parse


def read_security(entry: Entry, market: str) -> Security:
    """The line of a text list."""
    fields = entry.fields
    flags = {
        "reg_sho_flag": fields["Reg SHO Threshold Flag"],
        "rule_3210": fields.get("Rule 3210", ""),
        "rule_4320": fields.get("Rule 4320", ""),
    }
    return Security(
        entry.line, entry.text, market, fields["Symbol"], fields["Security Name"], fields["Market Category"], flags
    )


def check_time(listed: StampedList, day: date, status_if_empty: str = "empty") -> ListDocument:
    """The document of the day. FormatError when it was made before that day: then it is another day's list."""
    if listed.printed_at is not None and listed.printed_at.date() < day:
        message = f"the list of {day} says that it was made on {listed.printed_at:%Y-%m-%d}, before that day"
        raise FormatError(message, line=listed.last_line)
    return ListDocument(day, listed.printed_at, listed.last_line, status_if_empty)


def make_rows(
    document: ListDocument, securities: Sequence[Security], markets: Sequence[str]
) -> Iterator[Rows | Reject]:
    """The rows of `threshold`, one of `threshold_lists` for each market, and the lines that cannot be one of the two."""
    rows = dict[tuple[str, str], dict[str, Any]]()
    for security in securities:
        row = _make_row(document, security)
        reason = _find_fault(security, row, rows)
        if reason:
            yield Reject(0, security.line, security.text, reason)
        else:
            rows[security.market, row["symbol"]] = row
    if rows:
        yield make_batch(threshold, list(rows.values()))
    counts = Counter(market for market, _ in rows)
    yield make_lists(document, {market: counts[market] for market in markets})


def make_lists(document: ListDocument, counts: Mapping[str, int]) -> Rows:
    """The rows of `threshold_lists`: one for each market, also for one without a security in a document of several markets."""
    empty = "empty" if any(counts.values()) else document.status_if_empty
    return make_batch(
        threshold_lists, [_make_list_row(document, market, count, empty) for market, count in counts.items()]
    )


def _make_list_row(document: ListDocument, market: str, count: int, empty: str) -> dict[str, Any]:
    return {
        "list_date": document.day, "market": market, "status": "list" if count else empty, "securities": count,
        "in_effect": settlement_day_after(document.day), "day_number": number_settlement_day(document.day),
        "printed_at": document.printed_at, "line": document.last_line,
    }  # fmt: skip


def make_batch(dataset: Dataset, rows: Sequence[Mapping[str, Any]]) -> Rows:
    """Rows as columns; flags that are not given are empty."""
    schema = columns.parsed_schema(dataset)
    values = {field.name: [row.get(field.name, "") for row in rows] for field in schema if field.name != "member"}
    values["member"] = [0] * len(rows)
    arrays = [_to_array(values[field.name], field.type) for field in schema]
    return Rows(dataset, pa.record_batch(arrays, schema=schema))


def normalize_symbol(printed: str) -> str:
    """One spelling for all lists: a point for every separator."""
    return SEPARATORS.sub(".", printed.strip()).strip(".").upper()


def _to_array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode()
    if pa.types.is_timestamp(kind):
        values = [value and value.astimezone(UTC) for value in values]
    return pa.array(values, kind)


def _make_row(document: ListDocument, security: Security) -> dict[str, Any]:
    return {
        "list_date": document.day, "market": security.market, "symbol": normalize_symbol(security.symbol),
        "symbol_printed": security.symbol, "security_name": security.name, "market_category": security.category,
        "rule": _find_rule(security.flags), **security.flags, "printed_at": document.printed_at, "line": security.line,
    }  # fmt: skip


def _find_rule(flags: Mapping[str, str]) -> str:
    """Why a security is listed; empty when no flag says so."""
    if not flags["reg_sho_flag"] and (listed := flags.get("finra_list_flag", "")):
        return {"R": "Reg SHO", "NR": "Rule 4320"}.get(listed, "")
    return next((rule for column, rule in RULES if flags.get(column) == "Y"), "")


def _find_fault(security: Security, row: Mapping[str, Any], rows: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    """Why a line is no row; empty when it is one."""
    if not row["symbol"]:
        return "there is no symbol"
    if unknown := [
        value for name, value in security.flags.items() if name != "finra_list_flag" and value not in ("Y", "N", "")
    ]:
        return f"{unknown[0][:20]!r} is no flag: Y or N"
    if not row["rule"]:
        return "no flag says under which rule it is listed"
    if (security.market, row["symbol"]) in rows:
        return f"{row['symbol']} is on the list twice"
    return ""
