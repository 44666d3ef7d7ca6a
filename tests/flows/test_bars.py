"""Bars equal their trades, to the last digit, whatever was closed, stored, replayed or killed meanwhile."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_DOWN, Decimal, localcontext
from pathlib import Path
from typing import Any

import pytest

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.clients.ledger.positions import SqlitePositions
from spotlightd.datasets.bars import bars, minutely
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.datasets.trades import FUTURE_SECONDS, trades
from spotlightd.errors import StoreError
from spotlightd.flows.loads.publish import Publications
from spotlightd.flows.loads.recovery import recover
from spotlightd.flows.transform import TransformRunner
from spotlightd.model.offsets import Completion, Intent
from spotlightd.model.stream import Stream, covers, load_digest
from spotlightd.query import cursor, filters, select
from spotlightd.query.errors import HttpProblem
from spotlightd.sql.tiers import NoArchives
from spotlightd.sql.visibility import Snapshot, table_expression

from .world import CrashError, Fuse, Fused, crash_steps

DAYS = (date(2025, 10, 2), date(2025, 10, 3))
SYMBOLS = ("AAPL", "BINANCE:BTCUSDT")
FEEDS = tuple(
    Stream(
        name=name, title=name, home="https://example.org", datasets=(trades,), address=lambda _: "wss://example.org",
        hello=lambda _: iter(()), hosts=("example.org",), decode="SELECT 1",
    )
    for name in ("feed_a", "feed_b")
)  # fmt: skip
FUTURE_SHARE = 0.05  # of the trades have a time that is too far ahead of their receipt
Trade = tuple[Any, ...]
Bar = tuple[Any, ...]


def stored(name: str) -> int:
    return [column.name for column in trades.stored].index(name)


PLACED = [stored(name) for name in ("time", "epoch", "partition", "offset", "frame_index")]
BARRED = [stored(name) for name in ("symbol", "source", "time", "price", "volume")]


def recomputed(rows: Iterable[Trade]) -> list[Bar]:
    """The bars of these trades, by plain arithmetic. One whose time is too far ahead of its receipt is in none."""
    minutes: dict[tuple[str, str, datetime], list[tuple[float, float]]] = defaultdict(list)
    for row in sorted(rows, key=lambda trade: [trade[at] for at in PLACED]):
        symbol, source, time, price, volume = (row[at] for at in BARRED)
        if time > row[stored("received")] + timedelta(seconds=FUTURE_SECONDS):
            continue
        minutes[symbol, source, time.replace(second=0, microsecond=0)].append((price, volume))
    return sorted((*key, *_bar(of)) for key, of in minutes.items())


def _bar(of: Sequence[tuple[float, float]]) -> tuple[Any, ...]:
    prices = [price for price, _ in of]
    with localcontext(prec=60):
        volume = sum(Decimal(repr(volume)).quantize(Decimal("1e-18"), ROUND_DOWN) for _, volume in of)
        turnover = sum(Decimal(round(price * volume * 1e8)).scaleb(-8) for price, volume in of)
    return (prices[0], max(prices), min(prices), prices[-1], volume, turnover, len(of))


@dataclass
class Market:
    """Loads of trades as the drain and replays leave them, and the bars that each publication should have."""

    ledger: SqliteLedger
    warehouse: ClickHouse
    random: random.Random
    rows: dict[int, list[Trade]] = field(default_factory=dict)
    opened: dict[tuple[str, date], int] = field(default_factory=dict)
    offset: int = 0

    def publications(self) -> Publications:
        return Publications(self.ledger, self.warehouse)

    def runner(self, fuse: Fuse | None = None) -> TransformRunner:
        fused: Any = (lambda store: Fused(store, fuse)) if fuse else (lambda store: store)
        ledger, warehouse = fused(self.ledger), fused(self.warehouse)
        return TransformRunner(
            minutely, ledger, warehouse, Publications(ledger, warehouse), SqlitePositions(self.ledger)
        )

    async def open(self, feed: Stream, day: date) -> int:
        part = 1 + sum(load.covers.startswith(covers(day)) for load in await self.ledger.loads(feed.name))
        begun = await self.ledger.begin_load(feed, load_digest(feed.name, day, part), covers(day, part))
        await self.publications().publish(await self.ledger.mark_loaded(begun.load_id, {}, ()))
        self.rows[begun.load_id] = []
        return begun.load_id

    async def tick(self, count: int = 30) -> int:
        """Add trades of any minute to the day's load, which is opened if there is none."""
        feed, day = self.random.choice(FEEDS), self.random.choice(DAYS)
        load = self.opened.get((feed.name, day)) or await self.open(feed, day)
        self.opened[feed.name, day] = load
        await self.publish(load, [self.trade(feed, day, load) for _ in range(count)])
        return load

    async def publish(self, load: int, rows: list[Trade]) -> None:
        self.rows[load] += rows
        await self.warehouse.insert(trades, rows)

    def trade(self, feed: Stream, day: date, load: int, volume: float | None = None) -> Trade:
        """Four minutes around midnight, times that meet in a millisecond, and volumes of all sorts."""
        draw, self.offset = self.random, self.offset + draw_step(self.random)
        received = datetime.combine(day, datetime.min.time(), UTC) + timedelta(hours=23, minutes=59, seconds=30)
        time = datetime(2025, 10, 3, tzinfo=UTC) + timedelta(milliseconds=draw.randrange(-120_000, 120_000, 500))
        if volume is None and draw.random() < FUTURE_SHARE:
            time = received + timedelta(seconds=draw.choice((FUTURE_SECONDS + 0.5, 86_400, 86_400 * 365 * 200)))
        sorts = (
            0.0,
            draw.randrange(1, 20_000_000),
            round(draw.random(), 8),
            draw.random(),
            1e-12,
            12345.678,
            1e8 + 0.5,
        )
        amount = float(draw.choice(sorts)) if volume is None else volume
        price = round(100 + draw.random() * 50, draw.choice((0, 2, 8)))
        place = (draw.choice((1, 2)), draw.choice((0, 7)), self.offset, draw.choice((0, 3)))
        details = ("", "", ["1"], "trade", False, feed.name)
        return (draw.choice(SYMBOLS), "", time, received, received, price, amount, *details, load, *place)

    async def close(self, load: int) -> None:
        self.opened = {key: load_id for key, load_id in self.opened.items() if load_id != load}
        await self.ledger.close_load(load)

    async def replay(self, load: int) -> None:
        """Replay a load, a third of it with other values: a new closed load replaces the old one."""
        await self.close(load)
        old = next(other for other in await self.ledger.loads() if other.load_id == load)
        feed = next(feed for feed in FEEDS if feed.name == old.source)
        begun = await self.ledger.begin_load(feed, old.digest, old.covers)
        again = [row for row in self.rows[load] if self.random.random() > 0.3]
        self.rows[begun.load_id] = []
        at = stored("load_id")
        await self.publish(begun.load_id, [(*row[:at], begun.load_id, *row[at + 1 :]) for row in again])
        await self.ledger.mark_loaded(begun.load_id, {}, ())
        await self.publications().publish(await self.ledger.close_load(begun.load_id))

    async def kill(self, step: int) -> None:
        """Crash at that step of computing bars, and start again."""
        try:
            await self.runner(Fuse(step)).run_round()
        except CrashError:
            await recover(
                self.ledger, self.warehouse, self.publications(), (trades, bars, *SYSTEM_DATASETS), NoArchives()
            )

    async def newest(self) -> int:
        return int((await self.warehouse.rows("SELECT max(seq) FROM loads")).rows[0][0])

    async def expected(self, seq: int) -> list[Bar]:
        published = [load for load in await self.ledger.loads(states=("published",)) if load.seq <= seq]
        superseded = {load_id for load in published for load_id in load.supersedes}
        return recomputed(
            row for load in published if load.load_id not in superseded for row in self.rows.get(load.load_id, ())
        )

    async def read(self, seq: int) -> list[Bar]:
        return sorted((await self.warehouse.rows(f"SELECT * FROM {table_expression(bars)}", {"seq": seq})).rows)

    async def check(self) -> None:
        newest = await self.newest()
        for seq in (newest, self.random.randint(0, newest)):
            assert await self.read(seq) == await self.expected(seq)


def draw_step(draw: random.Random) -> int:
    return draw.choice((1, 1, 1, 1 << 20))


@pytest.fixture
async def market(tmp_path: Path, warehouse: ClickHouse) -> AsyncIterator[Market]:
    for dataset in (trades, bars):
        await warehouse.ensure(dataset)
    async with SqliteLedger(tmp_path / "ledger.sqlite") as ledger:
        yield Market(ledger, warehouse, random.Random(7))


async def _step(market: Market) -> None:
    draw, loads = market.random, sorted(market.rows)
    what = draw.choice(("tick", "tick", "close", "replay", "round", "kill"))
    if what == "tick" or not loads:
        await market.tick()
    elif what == "close":
        await market.close(draw.choice(loads))
    elif what == "replay":
        current = [load for load in await market.runner().ledger.loads() if load.load_id in market.rows]
        superseded = {load_id for load in current for load_id in load.supersedes}
        await market.replay(draw.choice([load.load_id for load in current if load.load_id not in superseded]))
    elif what == "round":
        await market.runner().run_round()
    else:
        await market.kill(draw.randrange(1, 40))


@pytest.mark.parametrize("seed", [1, *(pytest.param(number, marks=pytest.mark.slow) for number in range(2, 6))])
async def test_bars_always_equal_their_trades(market: Market, seed: int) -> None:
    market.random.seed(seed)
    for _ in range(25):
        await _step(market)
        await market.check()
    counts = await market.warehouse.rows("SELECT uniqExact(load_id), count() FROM bars")
    assert counts.rows[0][0] > 1
    for load in list(market.opened.values()):
        await market.close(load)
    await market.runner().run_round()
    await market.warehouse.execute("TRUNCATE TABLE trades")
    assert await market.read(await market.newest()) == await market.expected(await market.newest())
    assert await market.runner().run_round() == 0


@pytest.mark.slow
async def test_a_kill_at_each_step_of_making_bars_changes_no_bar(market: Market) -> None:
    for step in crash_steps():
        load = await market.tick()
        await market.close(load)
        fuse = Fuse(step)
        try:
            await market.runner(fuse).run_round()
        except CrashError:
            await recover(
                market.ledger, market.warehouse, market.publications(), (trades, bars, *SYSTEM_DATASETS), NoArchives()
            )
        await market.check()
        await market.runner().run_round()
        counts = await market.warehouse.rows("SELECT load_id, sum(trades) FROM bars GROUP BY load_id")
        counted = sum(bar[-1] for bar in recomputed(row for rows in market.rows.values() for row in rows))
        assert sum(count for _, count in counts.rows) == counted
        if fuse.steps < step:
            break
    assert step > 10


async def test_bars_of_a_load_wait_until_nothing_is_moved_into_it(market: Market) -> None:
    load = await market.tick()
    name = next(other.source for other in await market.ledger.loads() if other.load_id == load)
    positions = SqlitePositions(market.ledger)
    moving = Intent(name, 1, 0, 0, 10, 10, DAYS[0], 1, load, "decode", "nonce")
    await positions.intend(moving)
    await market.close(load)
    assert await market.runner().run_round() == 0
    await positions.complete(Completion(moving, b""))
    assert await market.runner().run_round() == 1
    await market.check()


async def test_another_version_makes_all_bars_anew(market: Market) -> None:
    await market.close(await market.tick())
    await market.runner().run_round()
    newer = replace(market.runner(), transform=replace(minutely, parser="2"))
    assert (await newer.run_round(), await newer.run_round()) == (1, 0)
    first, second = await market.ledger.loads("bars", states=("published",))
    assert second.supersedes == (first.load_id,)
    await market.check()


async def test_bars_of_a_load_that_cannot_be_written_are_computed_later(market: Market) -> None:
    await market.close(await market.tick())
    await market.warehouse.execute("RENAME TABLE bars TO hidden")
    with pytest.raises(StoreError):
        await market.runner().run_round()
    await market.warehouse.execute("RENAME TABLE hidden TO bars")
    assert [load.state for load in await market.ledger.loads("bars")] == ["dead"]
    assert await market.runner().run_round() == 1
    await market.check()


@pytest.mark.parametrize("volumes", [[1e21], [6e16] * 2])
async def test_a_bar_that_cannot_hold_its_volume_is_an_error_and_not_another_number(
    market: Market, volumes: list[float]
) -> None:
    load = await market.open(FEEDS[0], DAYS[1])
    same = [market.trade(FEEDS[0], DAYS[1], load, volume) for volume in volumes]
    at = stored("time")
    await market.publish(load, [("AAPL", *row[1:at], same[0][at], *row[at + 1 :]) for row in same])
    with pytest.raises(StoreError, match=r"more than a bar can hold|too big"):
        await market.read(await market.newest())


async def test_readers_filter_sort_and_page_bars_as_any_dataset(market: Market) -> None:
    for _ in range(4):
        await market.close(await market.tick())
        await market.runner().run_round()
        await market.tick()
    seq = await market.newest()
    bounds = [("symbol", "BINANCE:BTCUSDT"), ("minute__gte", "2025-10-02T23:59:00Z"), ("source__ne", "feed_x")]
    wanted = [bar for bar in await market.expected(seq) if bar[0] == SYMBOLS[1] and bar[2].minute in (59, 0, 1)]
    pages: list[dict[str, Any]] = []
    following = ""
    while True:
        question = filters.parse_question(bars, [*bounds, *([("_next", following)] if following else [])])
        query = select.select_page(question, Snapshot(seq), 2)
        rows = (await market.warehouse.rows(query.sql, query.params)).dicts()
        pages += rows[:2]
        if len(rows) < 3:
            break
        following = cursor.make_cursor(cursor.with_page_order(question), rows[1])
    assert [row["minute"] for row in pages] == sorted((row["minute"] for row in pages), reverse=True)
    assert sorted(tuple(row.values()) for row in pages) == wanted
    counted = select.select_count(filters.parse_question(bars, bounds), Snapshot(seq))
    assert (await market.warehouse.rows(counted.sql, counted.params)).rows[0][0] == len(wanted)
    current = await market.warehouse.rows("SELECT * FROM bars_current")
    assert sorted(current.rows) == await market.expected(seq)


@pytest.mark.parametrize("parameter", ["_document", "_receipt", "open_at"])
def test_a_bar_has_no_receipt_of_its_own_and_names_where_to_look(parameter: str) -> None:
    with pytest.raises(HttpProblem, match=r"computed from other rows|no column"):
        filters.parse_question(bars, [(parameter, "1")])


async def test_only_the_queried_trades_are_read(market: Market) -> None:
    """Filters on symbol and minute use the index of the trades, and days that are stored as bars are not read."""
    for _ in range(6):
        await market.tick()
    for (_, day), load in list(market.opened.items()):
        if day == DAYS[0]:
            await market.close(load)
    await market.runner().run_round()
    sql = f"EXPLAIN indexes = 1 SELECT * FROM {table_expression(bars)} WHERE symbol = 'AAPL' AND minute >= '2025-10-03 00:01:00'"
    plan = "\n".join(row[0] for row in (await market.warehouse.rows(sql, {"seq": await market.newest()})).rows)
    index = plan[plan.rindex("PrimaryKey") :]
    assert "(toYYYYMMDD(received) in 1-element set)" in plan, plan
    assert "symbol in ['AAPL', 'AAPL']" in index, plan
    assert "(toStartOfInterval(time, 60000000) in [" in index, plan
