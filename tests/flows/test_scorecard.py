"""The scorecard sees what a publisher changed without a word, is silent about ordinary days, and says what is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from spotlightd.calendars.trading import trading_day_after, trading_day_before, trading_days
from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.datasets import system
from spotlightd.datasets.short_volume import short_volume
from spotlightd.flows.upkeep.scorecard.calendar import find_end, judge
from spotlightd.flows.upkeep.scorecard.flow import Scorecard
from spotlightd.flows.upkeep.scorecard.profiles import TEXTS, Feature
from spotlightd.flows.upkeep.scorecard.rules import compare_rows, has_changed
from spotlightd.model.source import Expected
from spotlightd.sources.short_interest.finra_short_volume import source
from spotlightd.sql.tiers import NoArchives
from spotlightd.testing import SilentMetrics

LAST = date(2026, 11, 25)
DAYS = list(trading_days(LAST - timedelta(days=17), LAST))
Row = tuple[Any, ...]


def ordinary_row(day: date, number: int) -> Row:
    """Constructed: a turbulent market, in which volumes of a day are up to three times those of another."""
    sold = (1 + day.day % 3) * (1_000 + 37 * number)
    return day, "CNMS", f"SYM{number}", Decimal(sold), Decimal(number % 7), Decimal(sold * 2), "B,Q,N"


def changed_row(day: date, number: int) -> Row:
    """Volumes in hundreds of millions, no exempt volume, markets in small letters."""
    _, facility, symbol, sold, _, total, market = ordinary_row(day, number)
    return day, facility, symbol, sold * 100_000, None, total, market.lower()


async def publish(
    warehouse: ClickHouse, day: date, rows: Sequence[Row], *, at: datetime | None = None, facility: str = "cnms"
) -> int:
    (newest,) = (await warehouse.rows("SELECT max(seq) FROM loads")).rows[0]
    seq = int(newest) + 1
    await warehouse.insert(short_volume, [(*row, 1000 + seq, 0, line) for line, row in enumerate(rows, 2)])
    at = at or datetime(day.year, day.month, day.day, 23, tzinfo=UTC)
    covers, digest = f"{day:%Y/%m/%d}/{facility}", f"{seq:064d}"
    (replaced,) = (
        await warehouse.rows("SELECT groupArray(load_id) FROM loads WHERE covers = {covers:String}", {"covers": covers})
    ).rows[0]
    load: Row = (seq, short_volume.name, 1000 + seq, source.name, covers, digest, "1", len(rows), 0, replaced, at, 0)
    await warehouse.insert(system.loads, [load])
    return seq


async def publish_days(
    warehouse: ClickHouse, days: Sequence[date], make_row: Callable[[date, int], Row] = ordinary_row
) -> None:
    for day in days:
        await publish(warehouse, day, [make_row(day, number) for number in range(40)])


class Gauges(SilentMetrics):
    """The gauges of the source."""

    def __init__(self) -> None:
        super().__init__()
        self.values = dict[str, float]()

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        super().gauge(name, value, **labels)
        assert labels == {"source": source.name}
        self.values[name] = value


@pytest.fixture
async def scorecard(warehouse: ClickHouse) -> Scorecard:
    await warehouse.ensure(short_volume)
    return Scorecard(warehouse, NoArchives(), [source], Gauges(), judged_on=LAST + timedelta(days=2))


async def read_card(warehouse: ClickHouse) -> dict[str, Any]:
    answer = await warehouse.rows("SELECT * FROM scorecard ORDER BY at DESC LIMIT 1")
    return answer.dicts()[0]


async def read_changes(warehouse: ClickHouse) -> dict[str, tuple[str, str, list[str], list[str]]]:
    sql = "SELECT column, kind, says, now, before FROM quiet_changes"
    return {column: (kind, says, now, before) for column, kind, says, now, before in (await warehouse.rows(sql)).rows}


async def test_ordinary_days_raise_no_alarm(scorecard: Scorecard, warehouse: ClickHouse) -> None:
    await publish_days(warehouse, DAYS)
    assert await scorecard.check() == 0
    card = await read_card(warehouse)
    assert (card["source"], card["dataset"], card["newest"]) == (
        "finra_short_volume",
        "short_volume",
        "2026/11/25/cnms",
    )
    assert (card["rows"], card["least_rows"], card["most_rows"]) == (40, 40, 40)
    assert (card["late"], card["newly_empty"], card["changed"]) == ("", [], [])
    assert (card["delay_days"], card["usual_delay_days"]) == (pytest.approx(-1 / 24), pytest.approx(-1 / 24, abs=2))


async def test_a_quiet_change_is_an_alarm_with_values_of_before_and_after(
    scorecard: Scorecard, warehouse: ClickHouse
) -> None:
    await publish_days(warehouse, DAYS[:-1])
    assert await scorecard.check() == 0
    await publish_days(warehouse, DAYS[-1:], changed_row)
    assert await scorecard.check() == 3
    changes = await read_changes(warehouse)
    assert {column: kind for column, (kind, *_) in changes.items()} == {
        "short_volume": "size", "short_exempt_volume": "newly empty", "market": "share",
    }  # fmt: skip
    _, sentence, now, before = changes["market"]
    assert sentence == "100% of the values have small letters; usual are 0%"
    assert (set(now), set(before)) == ({"b,q,n"}, {"B,Q,N"})
    card = await read_card(warehouse)
    assert (card["newly_empty"], card["changed"]) == (["short_exempt_volume"], ["short_volume", "market"])
    assert isinstance(scorecard.metrics, Gauges)
    assert scorecard.metrics.values["quiet_changes"] == 3
    assert scorecard.metrics.values["slices_missing"] > 0
    scorecard.looked = (-1, LAST)
    assert await scorecard.check() == 3, "a change is recorded once"


async def test_a_day_that_is_not_over_is_not_judged(scorecard: Scorecard, warehouse: ClickHouse) -> None:
    await publish_days(warehouse, DAYS[:-1])
    await publish(warehouse, LAST, [ordinary_row(LAST, number) for number in range(5)])
    scorecard.judged_on = LAST + timedelta(days=1)
    assert await scorecard.check() == 0
    assert (await read_card(warehouse))["newest"] == f"{DAYS[-2]:%Y/%m/%d}/cnms"
    scorecard.judged_on = LAST + timedelta(days=2)
    assert await scorecard.check() == 1


@pytest.mark.parametrize(
    ("covers", "end"),
    [
        ("2024/02/a", date(2024, 2, 14)),
        ("2024/02/b", date(2024, 2, 29)),
        ("2024/02/27/cnms", date(2024, 2, 27)),
        ("2024/02", date(2024, 2, 29)),
        ("2009/q2", date(2009, 6, 30)),
        ("2009", date(2009, 12, 31)),
        ("2009/below-10000/x", date(2009, 12, 31)),
        ("current", None),
    ],
)
def test_the_end_of_a_period_is_in_its_path(covers: str, end: date | None) -> None:
    assert find_end(covers) == end


async def test_a_document_of_half_the_rows_is_a_change_and_a_replaced_one_is_a_restatement(
    scorecard: Scorecard, warehouse: ClickHouse
) -> None:
    await publish_days(warehouse, DAYS)
    await publish(warehouse, LAST, [ordinary_row(LAST, number) for number in range(15)], at=datetime.now(UTC))
    assert await scorecard.check() == 1
    ((kind, sentence, *_),) = (await read_changes(warehouse)).values()
    assert (kind, sentence) == ("rows", "15 rows, where 40 to 40 are usual")
    assert (await read_card(warehouse))["restated"] == 1


async def test_a_facility_is_compared_with_itself(scorecard: Scorecard, warehouse: ClickHouse) -> None:
    await publish_days(warehouse, DAYS)
    for day in DAYS:
        await publish(warehouse, day, [changed_row(day, number) for number in range(100, 500)], facility="forf")
    assert await scorecard.check() == 0


async def test_what_is_due_and_not_here_is_late_or_missing(scorecard: Scorecard, warehouse: ClickHouse) -> None:
    await publish_days(warehouse, [*DAYS[:3], *DAYS[4:-1]])
    scorecard.judged_on = LAST + timedelta(days=1)
    await scorecard.check()
    card = await read_card(warehouse)
    assert (card["late"], card["late_days"]) == ("2026/11/25/cnms", 0)
    assert card["missing"][:2] == ["2026/11/25/cnms", f"{DAYS[3]:%Y/%m/%d}/cnms"]
    scorecard.judged_on = LAST + timedelta(days=2)
    await scorecard.check()
    assert (await read_card(warehouse))["late_days"] == 1, "Thanksgiving is no day of data"


def test_a_backfill_says_nothing_about_delays() -> None:
    due = [Expected(f"2026/11/{day:02}", date(2026, 11, day + 1)) for day in (20, 19, 18)]
    published = {"2026/11/20": datetime(2026, 11, 21, 12, tzinfo=UTC), "2026/11/19/a": datetime(2027, 3, 1, tzinfo=UTC),
                 "2026/11": datetime(2026, 11, 19, tzinfo=UTC)}  # fmt: skip
    found = judge(due, published, date(2026, 11, 25))
    assert (found.late, found.missing) == ("", ())
    assert found.delay == -2.0, "the document of the month had it first"
    assert judge(due, {}, date(2026, 11, 25)).late_days == 4


@pytest.mark.parametrize(
    ("feature", "now", "before", "changed"),
    [
        (TEXTS[0], 0.9, [0.1] * 5, True),
        (TEXTS[0], 0.6, [0.1] * 5, False),
        (TEXTS[0], 0.9, [0.1, 0.1, 0.1, 0.1, 0.7], False),
        (Feature("size", "size", ""), 1_000.0, [1.0] * 5, True),
        (Feature("size", "size", ""), 0.001, [1.0] * 5, True),
        (Feature("size", "size", ""), 7.0, [1.0] * 5, False),
        (Feature("size", "size", ""), 10.0, [1.0, 1.0, 1.0, 1.0, 6.0], False),
        (Feature("size", "size", ""), 0.0, [1.0] * 5, False),
        (Feature("size", "size", ""), float("nan"), [1.0] * 5, False),
        (Feature("length", "length", ""), 12.0, [5.0] * 5, True),
        (Feature("length", "length", ""), 9.0, [5.0] * 5, False),
    ],
)
def test_a_change_is_far_from_the_usual_and_outside_of_all_before(
    feature: Feature, now: float, before: list[float], changed: bool
) -> None:
    assert has_changed(feature, now, before) == changed


def test_too_few_documents_or_rows_are_not_judged() -> None:
    assert compare_rows(0, [100] * 4) is None
    assert compare_rows(0, [10] * 9) is None
    assert compare_rows(0, [100] * 5) is not None
    assert trading_day_after(trading_day_before(LAST)) == LAST
