"""A symbol that the venue refuses is a gap of its own: the connection stays, and the symbol is asked for again on it.

The error frame is the one of a public report: `Invalid symbol OANDA:EUR_USD`, while the venue sends all other symbols.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.clients.ledger.positions import SqlitePositions
from spotlightd.demo.exchange import Exchange, Script, run_exchange
from spotlightd.flows.stream.feed.outages import Moment
from spotlightd.flows.stream.feed.refusals import Refusals
from spotlightd.flows.stream.feed.timing import ListenerTiming, ReconnectBackoff
from spotlightd.flows.stream.gaps import QUEUE_MOST, GapJournal, to_datetime, to_nanoseconds
from spotlightd.model.offsets import Gap
from spotlightd.model.stream import Feed, FeedError, find_named_symbols
from spotlightd.settings.sources import StreamsSettings
from spotlightd.sources.finnhub import refused_symbols
from spotlightd.testing import SilentMetrics
from tests.flows.listener_world import FAST_TIMING, NAME, MemoryFeeds, RunningListener, run_listener, stream
from tests.manual_clock import ManualClock

REFUSED = "OANDA:EUR_USD"
SYMBOLS = ("AAPL", REFUSED, "BINANCE:BTCUSDT")
PATIENT = replace(FAST_TIMING, ask=3600.0, ask_most=3600.0)


@asynccontextmanager
async def run_refused(
    *, feeds: MemoryFeeds | None = None, timing: ListenerTiming = FAST_TIMING
) -> AsyncIterator[tuple[Exchange, RunningListener]]:
    """A listener to three symbols at a venue that refuses one of them."""
    async with run_exchange(Script(rate=500)) as exchange:
        exchange.refused_symbols.add(REFUSED)
        async with run_listener(exchange.address, symbols=SYMBOLS, feeds=feeds, timing=timing) as running:
            await running.until(lambda: bool(running.state.open_gaps))
            yield exchange, running


def subscriptions(exchange: Exchange, symbol: str) -> int:
    return sum(json.loads(text)["symbol"] == symbol for text in exchange.requests)


async def test_one_symbol_that_is_refused_is_a_gap_of_that_symbol_and_the_others_go_on() -> None:
    async with run_refused() as (exchange, running):
        frames = running.state.frames
        await running.until(lambda: running.state.frames > frames + 100)
        (gap,) = running.state.open_gaps
        assert (gap.symbol, gap.cause) == (REFUSED, "refused by the venue")
        assert running.state.state == "connected"
        await running.until(lambda: running.board.read()[0].state == "holding")
        assert running.board.read()[0].error.startswith(f"refused by the venue: {REFUSED} (Invalid symbol {REFUSED})")
        await running.until(lambda: subscriptions(exchange, REFUSED) >= 4)
        assert subscriptions(exchange, "AAPL") == exchange.connections == 1
        assert running.feeds.gaps == []
        exchange.refused_symbols.clear()
        await running.until(lambda: bool(running.feeds.gaps))
        (ended,) = running.feeds.gaps
        assert (ended.symbol, ended.cause, ended.since) == (REFUSED, "refused by the venue", gap.since)
        assert f"Invalid symbol {REFUSED}; refused" in ended.detail
        assert running.state.open_gaps == ()
        await running.until(lambda: running.board.read()[0].state == "waiting")
        assert running.feeds.refused == {}


async def test_a_venue_with_a_login_is_asked_again_without_it() -> None:
    def subscribe(feed: Feed) -> Iterator[str]:
        yield from (json.dumps({"type": "subscribe", "symbol": symbol, "again": True}) for symbol in feed.symbols)

    async with run_exchange(Script(rate=500)) as exchange:
        exchange.refused_symbols.add(REFUSED)
        source = stream(subscribe=subscribe)
        async with run_listener(exchange.address, source, symbols=SYMBOLS) as running:
            await running.until(lambda: len(exchange.requests) > len(SYMBOLS))
            assert json.loads(exchange.requests[-1]) == {"type": "subscribe", "symbol": REFUSED, "again": True}


async def test_the_connection_ends_like_any_other_and_its_gap_is_of_all_symbols() -> None:
    async with run_refused(timing=PATIENT) as (exchange, running):
        (opened,) = running.state.open_gaps
        await exchange.close()
        await running.until(lambda: len(running.feeds.gaps) == 2 and bool(running.state.open_gaps))
        by_symbol = {gap.symbol: gap for gap in running.feeds.gaps}
        assert {symbol: gap.cause for symbol, gap in by_symbol.items()} == {
            REFUSED: "refused by the venue",
            "": "closed by the venue",
        }
        assert by_symbol[REFUSED].since == opened.since
        assert by_symbol[""].since - timedelta(milliseconds=1) <= by_symbol[REFUSED].until  # nothing between them
        (again,) = running.state.open_gaps
        assert again.since <= by_symbol[""].until


async def test_a_stop_records_the_gap_of_a_refused_symbol() -> None:
    async with run_refused(timing=PATIENT) as (_, running):
        await running.stop()
        assert [(gap.symbol, gap.cause) for gap in running.feeds.gaps] == [(REFUSED, "refused by the venue")]
        assert running.feeds.refused == {}


async def test_a_killed_daemon_forgets_no_refused_symbol(tmp_path: Path) -> None:
    since = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
    async with SqliteLedger(tmp_path / "ledger.sqlite") as ledger:
        positions = SqlitePositions(ledger)
        await positions.save_refused_symbol("constructed_feed", "A/B", since)
        await positions.save_refused_symbol("constructed_feed", REFUSED, since)
        await positions.save_refused_symbol("constructed_feed", "A/B", None)
        await positions.save_refused_symbol("constructed", "OTHER", since)
        assert await positions.get_refused_symbols("constructed_feed") == {REFUSED: since}
        assert await positions.get_feed_state("constructed_feed") is None
    feeds = MemoryFeeds(refused={REFUSED: since})
    async with run_exchange(Script(rate=500)) as exchange, run_listener(exchange.address, feeds=feeds) as running:
        await running.until(lambda: bool(feeds.gaps))
        (gap,) = feeds.gaps
        assert (gap.symbol, gap.since, gap.cause) == (REFUSED, since, "refused by the venue")
        assert gap.until > datetime.now(UTC) - timedelta(minutes=1)
        await running.until(lambda: feeds.refused == {})


def moment(seconds: float) -> Moment:
    return Moment(int((1_800_000_000 + seconds) * 1e9), seconds)


async def test_the_gap_of_a_symbol_lasts_from_when_it_was_asked_for_until_it_was_accepted() -> None:
    journal = GapJournal(NAME, MemoryFeeds(), SilentMetrics(), 0.1)  # type: ignore[arg-type]
    refusals = Refusals(NAME, journal, ListenerTiming(), ManualClock(chance=0.0).to_clock())
    refusals.start_connection(moment(0), handshake=0.5)
    refusals.refuse([REFUSED], "no such symbol", moment(1))
    refusals.refuse(["AAPL"], "delisted", moment(100))  # no answer to the subscription: it was sent until then
    assert [to_nanoseconds(gap.since) for gap in refusals.open_gaps()] == [moment(0).wall, moment(100).wall]
    assert refusals.take_due(moment(30)) == []
    assert refusals.take_due(moment(31)) == [REFUSED]
    refusals.refuse([REFUSED], "no such symbol", moment(32))
    assert refusals.take_due(moment(91)) == []  # the pause has doubled
    assert refusals.take_due(moment(92)) == [REFUSED]
    assert refusals.take_due(moment(121)) == []
    assert refusals.take_due(moment(130)) == ["AAPL"]
    (gap,) = [entry for entry in journal._queue if isinstance(entry, Gap)]
    assert to_nanoseconds(gap.since) == moment(0).wall
    assert gap.until == to_datetime(moment(92.5).wall)
    refusals.refuse([REFUSED], "no such symbol", moment(200))
    assert refusals.take_due(moment(230)) == [REFUSED]  # it was accepted meanwhile, so pauses are short again


async def test_what_waits_for_a_ledger_that_cannot_be_written_is_bounded() -> None:
    journal, at = GapJournal(NAME, MemoryFeeds(broken=True), SilentMetrics(), 0.1), datetime(2026, 1, 5, tzinfo=UTC)  # type: ignore[arg-type]
    for number in range(QUEUE_MOST + 50):
        later = at + timedelta(seconds=number)
        journal.add_gap(Gap(NAME, at, later, "connection lost", detail=str(number)))
        journal.add_refusal(REFUSED, later)
        journal.add_refusal(REFUSED, None)
        journal.add_note("listening", later)
    assert len(journal._queue) <= QUEUE_MOST + 3
    newest = [entry for entry in journal._queue if isinstance(entry, Gap)][-1]
    assert (newest.since, newest.until) == (at, at + timedelta(seconds=QUEUE_MOST + 49))


def test_the_pause_after_a_close_is_that_of_the_connection() -> None:
    clock = ManualClock(chance=0.0)
    backoff = ReconnectBackoff(ListenerTiming(), StreamsSettings(), clock.to_clock())
    refused = FeedError("refused by the venue", "too many symbols")
    assert backoff.pause(refused, lasted=61.0, frames=1_000) == 1.0  # it ended for another reason
    assert backoff.pause(refused, lasted=0.3, frames=1) == 60.0


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Invalid symbol OANDA:EUR_USD", ["OANDA:EUR_USD"]),
        ("Invalid symbol: BRK.B.", ["BRK.B"]),
        ('no access to "IC MARKETS:1" or symbol:A', ["A", "IC MARKETS:1"]),
        ("Subscribing to too many symbols", []),
        ("Invalid API key", []),
        ("API limit reached", []),
        ("Invalid symbol API", ["API"]),
        ("Invalid symbol AAPLX", []),
    ],
)
def test_an_error_concerns_the_symbols_that_it_names_as_words(text: str, named: list[str]) -> None:
    symbols = ("A", "AAPL", "API", "BRK", "BRK.B", "EUR_USD", "OANDA:EUR_USD", "IC MARKETS:1")
    assert sorted(refused_symbols(text, symbols)) == named
    assert set(named) <= set(find_named_symbols(text, symbols))
