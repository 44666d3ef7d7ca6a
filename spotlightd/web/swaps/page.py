"""`/swaps`: what repositories reported about swaps: by week, asset class, repository, instrument and underlier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from aiohttp import web

from spotlightd.datasets.swap_days import swap_days
from spotlightd.datasets.swap_live import swap_live
from spotlightd.model.dataset import Dataset
from spotlightd.query.errors import not_found
from spotlightd.query.values import format_address
from spotlightd.sql.visibility import Snapshot
from spotlightd.turns import HEAVY
from spotlightd.web import degraded, responses
from spotlightd.web.formatting import format_number
from spotlightd.web.parts.parameters import FORMATS
from spotlightd.web.routes import Nav, Route
from spotlightd.web.state import APP_STATE, KIND, ExplorerContext
from spotlightd.web.swaps.live import LivePart, can_answer, live_query, read_live
from spotlightd.web.swaps.question import DAY, Period, SwapsQuestion, find_redirect, read_question
from spotlightd.web.swaps.sums import PeriodSums, Sums, days_with_messages, period_queries, read_period
from spotlightd.web.symbol.daily_chart import Drawing, Point, draw_days

ASSET_CLASSES = {"CR": "credit", "IR": "interest rates", "EQ": "equity", "FX": "foreign exchange", "CO": "commodities"}
CHOICES = {"publisher": ("DTCC", "ICE", "CME"), "regime": ("CFTC", "SEC")}


@dataclass(frozen=True, slots=True)
class SwapsPage:
    """One period of swaps, with the addresses that lead on from it. `live` None: not known by these filters."""

    question: SwapsQuestion
    period: Period
    sums: PeriodSums
    live: LivePart | None

    @property
    def drawing(self) -> Drawing:
        """A bar for each week or day: the notional of new trades in the page's currency."""
        steps = self.sums.steps

        def make_point(index: int) -> Point:
            day, sums = steps[index]
            return Point(f"{self._name(day)}: {self._describe(sums)}", self.step_address(day))

        return draw_days([day for day, _ in steps], [float(sums.notional) for _, sums in steps], make_point)

    def _name(self, day: date) -> str:
        return str(day) if self.sums.is_daily else f"week from {day}"

    def _describe(self, sums: Sums) -> str:
        return f"{format_number(sums.notional, 0)} {self.question.currency} in {format_number(sums.in_currency)} new trades"

    def step_address(self, day: date) -> str:
        """The same page for a week or a day; of a single day its rows."""
        if self.sums.is_daily:
            return self.rows_address("", day)
        return format_address("/swaps", self.question.pairs, week=day)

    @property
    def day_pairs(self) -> list[tuple[str, str]]:
        return [(f"{DAY}__gte", f"{self.period.first}"), (f"{DAY}__lte", f"{self.period.last}")]

    def rows_address(self, suffix: str = "", day: date | None = None) -> str:
        """The rows of `swap_days` behind the page, as a table or a file."""
        days = [(DAY, f"{day}")] if day else self.day_pairs
        return format_address(f"/data/{swap_days.name}{suffix}", [*self.question.pairs, *days])

    def narrow(self, filters: Sequence[tuple[str, str]]) -> str:
        """The page of one line of a table: its filters instead of others of these columns."""
        columns = {name.partition("__")[0] for name, _ in filters}
        pairs = [pair for pair in self.question.pairs if pair[0].partition("__")[0] not in columns]
        return format_address("/swaps", [*pairs, *filters, *self.day_pairs])

    @property
    def chips(self) -> list[tuple[str, str]]:
        """The filters that are set, and the page without each."""
        shown = [pair for pair in self.question.pairs if pair[0] != "as_of"]
        return [
            (f"{name.replace('__eq', '')} = {text or '(empty)'}", self._without((name, text))) for name, text in shown
        ]

    def _without(self, left_out: tuple[str, str]) -> str:
        return format_address("/swaps", [*(pair for pair in self.question.pairs if pair != left_out), *self.day_pairs])

    @property
    def earlier(self) -> str:
        """The page of as many days before these."""
        span = self.period.last - self.period.first
        last = self.period.first - timedelta(days=1)
        return format_address(
            "/swaps", [*self.question.pairs, (f"{DAY}__gte", f"{last - span}"), (f"{DAY}__lte", f"{last}")]
        )

    @property
    def data(self) -> dict[str, Any]:
        """For the script, as on a symbol's page: days counted from the year 1, and the target of clicks."""
        name = DAY if self.sums.is_daily else "week"
        path = f"/data/{swap_days.name}" if self.sums.is_daily else "/swaps"
        address = format_address(path, [*self.question.pairs, (name, "")])
        return {
            "unit": self.question.currency,
            "days": [day.toordinal() for day, _ in self.sums.steps],
            "amounts": [int(sums.notional) for _, sums in self.sums.steps],
            "shared": {},
            "corrected": [],
            "address": address,
            "as_of": "",
        }


async def show_swaps(request: web.Request) -> web.StreamResponse:
    """The page, by five statements: the snapshot, the days, then what was reported twice and what is live, at once."""
    pairs = tuple(request.query.items())
    if address := find_redirect(pairs):
        raise web.HTTPSeeOther(address)
    if not has_swaps(request.app[APP_STATE].context):
        raise not_found(
            "No swaps are collected here.", "Enable a source of swaps, such as dtcc_sec_equities, and wait for it."
        )
    request[KIND] = HEAVY
    asked = read_question(pairs)
    reader = responses.get_reader(request)
    snapshot = await reader.snapshot(None, asked.question.as_of)
    etag = responses.make_etag(request, snapshot)
    if responses.is_unchanged(request, etag):
        return responses.not_modified_response(etag)
    values = {
        "snapshot": snapshot,
        "question": asked,
        "dataset": swap_days,
        "page": await _read_page(request, asked, snapshot),
    }
    values |= {"asset_classes": ASSET_CLASSES, "choices": CHOICES, "formats": FORMATS}
    return responses.render_page(request, "swaps.html", values, etag=etag)


async def _read_page(request: web.Request, asked: SwapsQuestion, snapshot: Snapshot) -> SwapsPage | None:
    """None when no message matches the filters, whatever the days."""
    reader = responses.get_reader(request)
    first, last, count = (await reader.rows(days_with_messages(asked.question, snapshot))).rows[0]
    if not count:
        return None
    period = asked.choose_period(Period(first, last))
    question = asked.within(period)
    queries = period_queries(question, asked.currency, snapshot)
    if not (can_answer(asked) and swap_live.name in snapshot.published):
        answers = [answer.rows for answer in await reader.all(*queries)]
        return SwapsPage(asked, period, read_period(*answers), None)
    day = snapshot.as_of.date() if snapshot.as_of else request.app[APP_STATE].context.day
    *answers, live = [answer.rows for answer in await reader.all(*queries, live_query(asked, day, snapshot))]
    return SwapsPage(asked, period, read_period(*answers), read_live(asked, day, live))


def has_swaps(context: ExplorerContext) -> bool:
    """Whether swaps are collected here."""
    return swap_days in context.datasets


def reads_archived(dataset: Dataset) -> bool:
    """Whether the page reads archived rows of the dataset."""
    return dataset in (swap_days, swap_live)


ROUTES = (Route("/swaps", degraded.with_fallback(show_swaps, reads_archived)),)
NAV = Nav("Swaps", "/swaps", 12, keeps_as_of=True, is_visible=has_swaps)
