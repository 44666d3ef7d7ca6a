"""Threshold lists on a symbol's page: from when to when it was on the list of each market, and whether it still is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from spotlightd.datasets.threshold.lists import threshold, threshold_occ
from spotlightd.datasets.threshold.streaks import select_streaks, threshold_streaks
from spotlightd.ports.warehouse import Answer
from spotlightd.query.select import Query
from spotlightd.sql.visibility import Snapshot, table_expression

DATASET = threshold.name
DATASETS = (threshold, threshold_occ)
"""Datasets that this panel stands for: they have no amounts to draw by day."""

MOST_STREAKS = 400
WIDTH, ROW_HEIGHT, LABEL_WIDTH = 720, 18, 110
COLUMNS = "market, security_name, state, first_day, last_day, days, entered_after, left_on, unknown_before, unknown_within, unknown_after"


@dataclass(frozen=True, slots=True)
class Span:
    """A streak as a bar of the drawing."""

    x: float
    y: int
    width: float
    text: str
    address_day: date
    is_open: bool


@dataclass(frozen=True, slots=True)
class ThresholdPanel:
    """The streaks of one symbol, the newest first. `newest` is the newest list of any market that has a streak."""

    symbol: str
    streaks: Sequence[dict[str, Any]]

    @property
    def open(self) -> list[dict[str, Any]]:
        return [streak for streak in self.streaks if streak["state"] == "open"]

    @property
    def markets(self) -> list[str]:
        return list(dict.fromkeys(streak["market"] for streak in self.streaks))

    @property
    def days(self) -> int:
        return sum(streak["days"] for streak in self.streaks)

    @property
    def first_day(self) -> date:
        days: list[date] = [streak["first_day"] for streak in self.streaks]
        return min(days)

    @property
    def last_day(self) -> date:
        days: list[date] = [streak["last_day"] for streak in self.streaks]
        return max(days)

    @property
    def height(self) -> int:
        return ROW_HEIGHT * len(self.markets) + 20

    @property
    def spans(self) -> list[Span]:
        """One bar for each streak, in the row of its market, on one axis of days."""
        begin, rows = self.first_day, {market: row for row, market in enumerate(self.markets)}
        scale = (WIDTH - LABEL_WIDTH) / ((self.last_day - begin).days + 1)
        return [
            Span(
                round(LABEL_WIDTH + (streak["first_day"] - begin).days * scale, 1),
                rows[streak["market"]] * ROW_HEIGHT,
                round(max(((streak["last_day"] - streak["first_day"]).days + 1) * scale, 1.5), 1),
                f"{streak['market']}: {streak['first_day']} to {streak['last_day']}, {streak['days']} days, {streak['state']}",
                streak["last_day"],
                streak["state"] == "open",
            )
            for streak in self.streaks
        ]


def streak_queries(symbol: str, snapshot: Snapshot) -> tuple[Query, ...]:
    """The streaks of the symbol; no query where no list was published."""
    if DATASET not in snapshot.published:
        return ()
    reading = select_streaks(securities="symbol = {{threshold_symbol:String}}")
    sql = (
        f"SELECT {COLUMNS} FROM {table_expression(replace(threshold_streaks, reading=reading), snapshot)}"
        f" ORDER BY last_day DESC, first_day DESC, market LIMIT {MOST_STREAKS:d}"
    )
    return (Query(sql, {"seq": snapshot.seq, "threshold_symbol": symbol}),)


def make_panel(symbol: str, answers: Sequence[Answer]) -> ThresholdPanel | None:
    """None for a symbol that was never on a list."""
    return ThresholdPanel(symbol, answers[0].dicts()) if answers and answers[0].rows else None
