"""The part of `/swaps` about what is live: trades that no message ended, and whose last day is not over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

from spotlightd.datasets.swap_live import swap_live
from spotlightd.query.question import Condition, Question
from spotlightd.query.select import Query, select_aggregates
from spotlightd.query.values import format_address
from spotlightd.sql.visibility import Snapshot
from spotlightd.web.swaps.question import CURRENCY, SwapsQuestion

FILTERS = ("publisher", "regime", "asset_class")
OTHER_FILTERS = ("instrument", "underlier", "action")


@dataclass(frozen=True, slots=True)
class LiveSums:
    """Live trades of one asset class. `in_currency` and the amounts are of those with a notional in the page's currency."""

    asset_class: str
    trades: int
    in_currency: int
    notional: Decimal
    capped: int
    capped_notional: Decimal

    @property
    def capped_share(self) -> float:
        return float(self.capped_notional / self.notional) if self.notional else 0.0


@dataclass(frozen=True, slots=True)
class LivePart:
    """What is live in the month of `day` or later, by asset class."""

    day: date
    pairs: tuple[tuple[str, str], ...]
    rows: tuple[LiveSums, ...]

    @property
    def trades(self) -> int:
        return sum(row.trades for row in self.rows)

    @property
    def notional(self) -> Decimal:
        return sum((row.notional for row in self.rows), Decimal())

    @property
    def in_currency(self) -> int:
        return sum(row.in_currency for row in self.rows)

    def rows_address(self, asset_class: str = "") -> str:
        """The rows of `swap_live` behind it."""
        own = [pair for pair in self.pairs if not asset_class or pair[0] != "asset_class"]
        more = [("asset_class", asset_class)] if asset_class else []
        return format_address(f"/data/{swap_live.name}", [*own, *more, ("expires__gte", str(self.day.replace(day=1)))])


def can_answer(question: SwapsQuestion) -> bool:
    """Whether live trades are known by all filters of the page."""
    return all(condition.column.name not in OTHER_FILTERS for condition in question.question.conditions)


def live_query(question: SwapsQuestion, day: date, snapshot: Snapshot) -> Query:
    """What `read_live` takes the answer of."""
    month = Condition(swap_live.column("expires"), "gte", (str(day.replace(day=1)),))
    kept = [condition for condition in question.question.conditions if condition.column.name in FILTERS]
    values = (
        "asset_class", "sum(trades)", "sumIf(trades, currency = {currency:String})",
        "sumIf(notional, currency = {currency:String})", "sumIf(capped, currency = {currency:String})",
        "sumIf(capped_notional, currency = {currency:String})",
    )  # fmt: skip
    tail = f"GROUP BY asset_class ORDER BY {values[3]} DESC, {values[1]} DESC"
    query = select_aggregates(Question(swap_live, (*kept, month)), snapshot, values, tail)
    return replace(query, params={**query.params, CURRENCY: question.currency})


def read_live(question: SwapsQuestion, day: date, rows: Sequence[Sequence[Any]]) -> LivePart:
    pairs = tuple(pair for pair in question.pairs if pair[0].partition("__")[0] in (*FILTERS, "as_of"))
    return LivePart(day, pairs, tuple(LiveSums(*row) for row in rows))
