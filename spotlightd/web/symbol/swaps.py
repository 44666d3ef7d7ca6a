"""Swaps on a symbol's page: the messages that name one of its securities, with the rule that found each.

The rules, in their order; a message that several of them find is shown with the first:

  ISIN    the message names an ISIN that contains a CUSIP of this symbol
  CUSIP   it names that CUSIP itself
  ticker  it names this ticker, with an exchange in the United States or none

The CUSIPs of the symbol are those that other datasets print with it. Messages that none of these rules finds, but that print a
name of the same words, are named beside them and counted nowhere: a name may be that of several companies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from spotlightd.datasets.swap_underliers import normal_name, swap_underliers
from spotlightd.model.dataset import Dataset
from spotlightd.ports.warehouse import Answer
from spotlightd.query.measures import find_measure
from spotlightd.query.select import Query
from spotlightd.query.values import format_address
from spotlightd.sql.visibility import Snapshot, table_expression, visible_condition
from spotlightd.web.formatting import format_number
from spotlightd.web.symbol.daily_chart import Drawing, Point, draw_days

CURRENCY = "USD"
MOST_DAYS = 20_000
MOST_MATCHES, MOST_MESSAGES, MOST_NAMES = 30, 20, 5
RULES = ("ISIN", "CUSIP", "ticker")
EXPLANATIONS = {
    "ISIN": "an ISIN that contains the CUSIP {code}",
    "CUSIP": "the CUSIP {code}",
    "ticker": "the ticker {code}",
}


@dataclass(frozen=True, slots=True)
class Match:
    """What one printed identifier found. `baskets` of the messages name other securities too."""

    rule: str
    code: str
    printed: str
    messages: int
    trades: int
    baskets: int
    first: date
    last: date

    @property
    def explanation(self) -> str:
        return EXPLANATIONS[self.rule].format(code=self.code)


@dataclass(frozen=True, slots=True)
class NameMatch:
    """Messages that only a name connects with the symbol. `code` has its words."""

    code: str
    printed: str
    messages: int


@dataclass(frozen=True, slots=True)
class Day:
    """New trades of a day; `notional` is of those on this security alone, in US dollars."""

    day: date
    messages: int
    trades: int
    notional: Decimal


@dataclass(frozen=True, slots=True)
class Message:
    """A message that names the security."""

    report_date: date
    publisher: str
    regime: str
    message_id: str
    action: str
    event_time: datetime | None
    instrument: str
    notional: Decimal | None
    currency: str
    capped: bool
    members: int
    rule: str
    printed: str


@dataclass(frozen=True, slots=True)
class SwapsPanel:
    """What the page shows of swaps: days, the oldest first, and the newest messages. All are empty where only a name matches."""

    matches: tuple[Match, ...]
    names: tuple[NameMatch, ...]
    days: tuple[Day, ...]
    newest: tuple[Message, ...]
    as_of: str

    @property
    def messages(self) -> int:
        return sum(day.messages for day in self.days)

    @property
    def trades(self) -> int:
        return sum(day.trades for day in self.days)

    @property
    def notional(self) -> Decimal:
        return sum((day.notional for day in self.days), Decimal())

    @property
    def drawing(self) -> Drawing:
        def make_point(index: int) -> Point:
            day = self.days[index]
            text = f"{day.day}: {format_number(day.notional, 0)} {CURRENCY} in {format_number(day.trades)} new trades"
            return Point(text, self.rows_address(day=day.day))

        return draw_days([day.day for day in self.days], [float(day.notional) for day in self.days], make_point)

    def rows_address(self, suffix: str = "", *, day: date | str = "") -> str:
        """The matched rows of `swap_underliers`, as a table or a file."""
        codes = ",".join(sorted({match.code for match in self.matches}))
        rules = ",".join(sorted({match.rule for match in self.matches}))
        pairs = [("code__in", codes), ("rule__in", rules), *([("report_date", str(day))] if day else [])]
        return format_address(f"/data/{swap_underliers.name}{suffix}", pairs, as_of=self.as_of)

    @property
    def data(self) -> dict[str, Any]:
        """For the script, as that of a dataset's panel."""
        return {
            "unit": CURRENCY,
            "days": [day.day.toordinal() for day in self.days],
            "amounts": [int(day.notional) for day in self.days],
            "shared": {},
            "corrected": [],
            "address": f"{self.rows_address()}&report_date=",
            "as_of": "",
        }


def swap_queries(symbol: str, datasets: Iterable[Dataset], snapshot: Snapshot) -> tuple[Query, ...]:
    """What `make_panel` takes the answers of; none where no message was published."""
    if swap_underliers.name not in snapshot.published:
        return ()
    params = {"seq": snapshot.seq, "symbol": symbol, "ticker": re.sub(r"[^A-Z]", "", symbol)}
    matched = _select_matched(datasets, snapshot)
    key = "publisher, regime, message_id"
    once = f"(SELECT * FROM ({matched}) ORDER BY indexOf({list(RULES)!r}, rule) LIMIT 1 BY {key})"
    alone = f"action = 'NEW' AND members <= 1 AND currency = '{CURRENCY}'"
    statements = (
        (
            f"SELECT rule, code, printed, count(), countIf(action = 'NEW'), countIf(members > 1), min(report_date), max(report_date) "
            f"FROM {once} GROUP BY rule, code, printed ORDER BY count() DESC, printed LIMIT {MOST_MATCHES:d}"
        ),
        (
            f"SELECT report_date, count(), countIf(action = 'NEW'), sumIf(ifNull(notional, 0), {alone}) FROM {once} "
            f"GROUP BY report_date ORDER BY report_date DESC LIMIT {MOST_DAYS:d}"
        ),
        (
            f"SELECT report_date, {key}, action, event_time, instrument, notional, currency, capped, members, rule, printed "
            f"FROM {once} ORDER BY report_date DESC, event_time DESC, message_id DESC LIMIT {MOST_MESSAGES:d}"
        ),
    )
    return tuple(Query(sql, params) for sql in (*statements, _select_names(datasets, matched, snapshot)))


def _select_names(datasets: Iterable[Dataset], matched: str, snapshot: Snapshot) -> str:
    """The messages that print a name of the same words as one of the symbol's names, and that are not among the matched."""
    columns = {dataset: find_measure(dataset).name for dataset in datasets}
    names = [
        f"SELECT DISTINCT {normal_name(f'`{column.name}`')} FROM {table_expression(dataset, snapshot)} "
        f"WHERE {visible_condition(dataset)} AND `{dataset.symbol}` = {{symbol:String}}"
        for dataset, column in columns.items()
        if column
    ]
    return (
        f"SELECT code, any(printed), count() FROM {table_expression(swap_underliers, snapshot)} "
        f"WHERE {visible_condition(swap_underliers)} AND rule = 'name' AND code IN ({' UNION ALL '.join(names) or 'NULL'}) "
        f"AND (publisher, regime, message_id) NOT IN (SELECT publisher, regime, message_id FROM ({matched})) "
        f"GROUP BY code ORDER BY count() DESC, code LIMIT {MOST_NAMES:d}"
    )


def _select_matched(datasets: Iterable[Dataset], snapshot: Snapshot) -> str:
    """The rows that name a security of the symbol. Its CUSIPs are those that datasets with both columns print."""
    cusips = [
        f"SELECT toString(cusip) FROM {table_expression(dataset, snapshot)} "
        f"WHERE {visible_condition(dataset)} AND `{dataset.symbol}` = {{symbol:String}}"
        for dataset in datasets
        if any(column.name == "cusip" for column in dataset.columns)
    ]
    by_cusip = f"(rule IN ('ISIN', 'CUSIP') AND code IN ({' UNION ALL '.join(cusips)}))" if cusips else "0"
    return (
        f"SELECT * FROM {table_expression(swap_underliers, snapshot)} WHERE {visible_condition(swap_underliers)} "
        f"AND ({by_cusip} OR (rule = 'ticker' AND code = {{ticker:String}}))"
    )


def make_panel(answers: Sequence[Answer], as_of: str) -> SwapsPanel | None:
    """The panel of the answers to `swap_queries`. None when no message names the symbol, not even by a name."""
    if not any(answer.rows for answer in answers):
        return None
    matches, days, newest, names = (answer.rows for answer in answers)
    return SwapsPanel(
        tuple(Match(*row) for row in matches),
        tuple(NameMatch(*row) for row in names),
        tuple(Day(*row) for row in reversed(days)),
        tuple(Message(*row) for row in newest),
        as_of,
    )
