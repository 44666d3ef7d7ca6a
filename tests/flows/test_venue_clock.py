"""A venue whose clock drifts is named with its offset; single trades with a wild time are flagged and mislead nobody.

The trades are constructed: nobody traded them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.datasets.trades import FUTURE_SECONDS, trades
from spotlightd.errors import SettingsError, StoreError
from spotlightd.flows.stream.venue_clock import LEAST_ROWS, VenueClock, has_two_clocks
from spotlightd.ports.warehouse import Answer
from spotlightd.sources.finnhub import finnhub
from spotlightd.testing import SilentMetrics
from tests.flows.constructed_ticks import constructed_ticks
from tests.manual_clock import ManualClock

NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


def trade(number: int, seconds: float, *, received: datetime = NOW, source: str = "finnhub") -> tuple[Any, ...]:
    """A trade whose time, by the venue's clock, is so many seconds after its receipt."""
    time = received + timedelta(seconds=seconds)
    details: tuple[Any, ...] = ("", "", [], "trade", False, source)
    return ("AAPL", "", time, received, received, 100.0, 1.0, *details, 1, 1, 0, number, 0)


class Gauges(SilentMetrics):
    """Metrics that keep the gauges that were set."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, float] = {}

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        super().gauge(name, value, **labels)
        self.values[name] = value


async def measured(warehouse: Any, rows: Sequence[tuple[Any, ...]]) -> tuple[VenueClock, Gauges]:
    await warehouse.ensure(trades)
    await warehouse.execute("TRUNCATE TABLE trades")
    await warehouse.insert(trades, list(rows))
    gauges = Gauges()
    clock = VenueClock(finnhub, warehouse, gauges, ManualClock(NOW).to_clock())
    await clock.measure()
    return clock, gauges


@pytest.mark.parametrize(("seconds", "is_off"), [(-0.2, False), (42.0, True), (-42.0, True), (900.0, True)])
async def test_a_clock_that_drifts_is_known_with_its_offset(
    warehouse: ClickHouse, seconds: float, is_off: bool
) -> None:
    wild = [trade(number, 86_400.0 * 365) for number in range(5)]  # a fifth of the trades have a wild time
    old = [trade(100 + number, -7_200.0, received=NOW - timedelta(minutes=6)) for number in range(90)]
    others = [trade(200 + number, -7_200.0, source="other") for number in range(90)]
    clock, gauges = await measured(warehouse, [*(trade(10 + n, seconds) for n in range(20)), *wild, *old, *others])
    assert clock.offset_seconds == pytest.approx(seconds)
    assert clock.is_off == is_off
    assert gauges.values == {"venue_clock_offset_seconds": clock.offset_seconds}


async def test_a_few_trades_prove_nothing(warehouse: ClickHouse) -> None:
    clock, gauges = await measured(warehouse, [trade(number, 600.0) for number in range(LEAST_ROWS - 1)])
    assert (clock.offset_seconds, clock.is_off, gauges.values) == (None, False, {})


async def test_a_warehouse_that_does_not_answer_leaves_the_last_offset() -> None:
    class Warehouse:
        asked = 0

        async def rows(self, sql: str, params: Any) -> Answer:
            assert "FROM trades" in sql
            assert params["source"] == "finnhub"
            self.asked += 1
            if self.asked == 2:
                raise StoreError("no answer")
            return Answer(("count", "offset"), ((90, 42e6),))

    manual, store = ManualClock(NOW, seconds=100.0), Warehouse()
    clock = VenueClock(finnhub, store, SilentMetrics(), manual.to_clock())  # type: ignore[arg-type]  # it needs no more
    for _ in range(30):
        await clock.measure()
        manual.seconds += 1.0
    assert (store.asked, clock.offset_seconds) == (3, 42.0)


def test_only_rows_with_two_times_tell_of_a_clock() -> None:
    assert has_two_clocks(trades)
    assert not has_two_clocks(constructed_ticks)


async def test_a_trade_far_ahead_of_its_receipt_is_kept_and_flagged(warehouse: ClickHouse) -> None:
    """Also in a table of a state folder that was written before the flag was there."""
    await warehouse.execute("DROP TABLE IF EXISTS trades SYNC")
    await warehouse.ensure(replace(trades, derived=trades.derived[:1]))
    seconds = (FUTURE_SECONDS - 1, FUTURE_SECONDS + 1, -86_400.0, 86_400.0 * 365 * 200)
    await warehouse.insert(trades, [trade(number, ahead) for number, ahead in enumerate(seconds)])
    await warehouse.ensure(trades)
    answer = await warehouse.rows("SELECT is_future_dated, _partition_id FROM trades ORDER BY offset")
    assert [row[0] for row in answer.rows] == [False, True, False, True]
    assert {row[1] for row in answer.rows} == {"20260302-0"}  # the receipt decides, and not the trade


def test_the_clock_of_a_venue_decides_no_partition() -> None:
    by_venue = replace(trades, partition="toYYYYMMDD(time)")
    with pytest.raises(SettingsError, match="partition trades by `received`: the clock of a venue can be wrong"):
        replace(finnhub, datasets=(by_venue,))
