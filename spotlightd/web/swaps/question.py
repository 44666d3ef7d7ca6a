"""What the address of `/swaps` asks for: filters of `swap_days`, a period, and the currency that amounts are shown in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from spotlightd.datasets.swap_days import swap_days
from spotlightd.query import filters
from spotlightd.query.errors import bad_parameter
from spotlightd.query.filters import Pairs
from spotlightd.query.question import Condition, Question
from spotlightd.query.values import format_address

CURRENCY, DAY = "currency", "report_date"
DEFAULT_CURRENCY = "USD"
DEFAULT_DAYS = 13 * 7
FORM = (
    "publisher",
    "regime",
    "asset_class",
    "instrument",
    "underlier",
    CURRENCY,
    f"{DAY}__gte",
    f"{DAY}__lte",
    "as_of",
)
"""The fields of the form. An empty one is no filter."""
WEEK = "week"


@dataclass(frozen=True, slots=True)
class Period:
    """Days that are shown, both included."""

    first: date
    last: date


@dataclass(frozen=True, slots=True)
class SwapsQuestion:
    """The filters without those of days, as they are in the address, and the question that they are."""

    pairs: tuple[tuple[str, str], ...]
    question: Question
    currency: str
    since: date | None
    until: date | None

    def within(self, period: Period) -> Question:
        """The question about the days of a period."""
        day = swap_days.column(DAY)
        bounds = Condition(day, "between", (period.first.isoformat(), period.last.isoformat()))
        return replace(self.question, conditions=(*self.question.conditions, bounds))

    def choose_period(self, known: Period) -> Period:
        """The days of the address. Without a first one the thirteen weeks up to the last, from a Monday on, as far as there
        are messages.
        """
        last = self.until or known.last
        first = self.since or max(last - timedelta(days=DEFAULT_DAYS - 7 + last.weekday()), known.first)
        return Period(min(first, last), last)


def read_question(pairs: Pairs) -> SwapsQuestion:
    """HttpProblem(400) for a parameter that is no filter of days, texts or currency."""
    texts, since, until = [], "", ""
    for name, text in pairs:
        if name in filters.RESERVED_PARAMETERS and name != "as_of":
            raise bad_parameter(name, "is for tables", "Open the rows as a table; it has pages, sorting and columns.")
        if name == f"{DAY}__gte":
            since = text
        elif name == f"{DAY}__lte":
            until = text
        else:
            texts.append((name, text))
    question = filters.parse_question(swap_days, texts)
    named = [condition for condition in question.conditions if condition.column.name == CURRENCY]
    currency = named[0].values[0] if len(named) == 1 and named[0].operator == "eq" else DEFAULT_CURRENCY
    return SwapsQuestion(
        tuple(texts), question, currency, _read_day(f"{DAY}__gte", since), _read_day(f"{DAY}__lte", until)
    )


def _read_day(name: str, text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise bad_parameter(name, f"{text!r} is not a date like 2026-07-15") from None


def find_redirect(pairs: Pairs) -> str:
    """The address that a submitted form, or a link to a week, stands for. Empty when the parameters are those already."""
    if all(text or name not in FORM for name, text in pairs) and WEEK not in dict(pairs):
        return ""
    return format_address("/swaps", [pair for name, text in pairs for pair in _spell_out(name, text)])


def _spell_out(name: str, text: str) -> Sequence[tuple[str, str]]:
    if name == WEEK:
        monday = _read_day(WEEK, text)
        return [(f"{DAY}__gte", text), (f"{DAY}__lte", f"{monday + timedelta(days=6)}")] if monday else []
    return [(name, text)] if text or name not in FORM else []
