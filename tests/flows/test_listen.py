"""The listener receives every frame, or records the gap. The numbers are those of the fault table."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import pytest

from spotlightd.clients.http.websocket import open_websocket
from spotlightd.demo.exchange import Exchange, Script, run_exchange
from spotlightd.demo.recordings import read_recordings
from spotlightd.flows.stream.feed.timing import ListenerTiming
from spotlightd.model.offsets import Gap
from spotlightd.model.stream import FeedError
from spotlightd.ports.publisher import Socket
from tests.flows.listener_world import (
    FAST_TIMING,
    KEY,
    NAME,
    MemoryFeeds,
    RecordingSpool,
    RunningListener,
    ScriptedVenue,
    run_listener,
    stream,
)
from tests.manual_clock import ManualClock

TICKING = Script(rate=500)
QUIET = Script(rate=0.001, ping_seconds=3600)
SLACK = timedelta(seconds=0.5)  # what was sent may be on its way for so long


@asynccontextmanager
async def run_listener_and_venue(script: Script = TICKING) -> AsyncIterator[tuple[Exchange, RunningListener]]:
    async with run_exchange(script) as exchange, run_listener(exchange.address) as running:
        await running.until(lambda: running.state.state == "connected")
        yield exchange, running


def tick_numbers(running: RunningListener) -> list[int]:
    """The numbers of the ticks that were received, in order."""
    messages = (json.loads(value) for value in running.spool.values if value.startswith(b'{"data"'))
    return [trade["v"] for message in messages for trade in message["data"]]


async def wait_for_more(running: RunningListener, ticks: int = 50) -> None:
    """Wait until that many more ticks were received."""
    wanted = len(tick_numbers(running)) + ticks
    await running.until(lambda: len(tick_numbers(running)) >= wanted)


async def wait_for_gaps(running: RunningListener, number: int) -> None:
    await running.until(lambda: len(running.feeds.gaps) == number)


def check_each_tick_is_received_once_or_in_a_gap(exchange: Exchange, running: RunningListener) -> None:
    """O1 and O2, for all ticks between the first and the last that was received."""
    numbers = tick_numbers(running)
    assert len(numbers) == len(set(numbers))
    missed = sorted(set(range(numbers[0], numbers[-1])) - set(numbers))
    spans = [(gap.since - SLACK, gap.until + SLACK) for gap in running.feeds.gaps]
    for number in missed:
        at = datetime.fromtimestamp(exchange.ticks[number] / 1e9, UTC)
        assert any(since <= at <= until for since, until in spans), f"tick {number} of {at} is in no gap: {spans}"


# -- frames ------------------------------------------------------------------------------------------------------------


async def test_frames_are_received_unchanged_numbered_and_timed() -> None:
    async with run_listener_and_venue(Script(speed=50)) as (exchange, running):
        real = {frame.value for frame in read_recordings()}
        await running.until(lambda: real <= set(running.spool.values))
        assert [frame.sequence for frame in running.spool.frames] == list(range(len(running.spool.frames)))
        assert len({frame.connection for frame in running.spool.frames}) == 1
        assert 0 < running.spool.frames[0].connection < 1 << 63
        assert running.spool.values == [frame.value for frame in exchange.sent][: len(running.spool.values)]
        times = [frame.received for frame in running.spool.frames]
        assert times == sorted(times)
        assert running.feeds.gaps == []


async def test_the_state_of_a_listener_is_known() -> None:
    async with run_listener_and_venue() as (exchange, running):
        await running.until(lambda: running.state.frames >= 100)
        await running.until(lambda: "frames/s" in running.board.read()[0].message)
        state = running.state
        assert (state.state, state.connects, state.shed, state.source) == ("connected", 1, 0, NAME)
        assert state.size > 50 * state.frames
        assert state.last_frame_at is not None
        assert len(exchange.requests) == 3
        await running.stop()
        assert running.state.state == "stopped"
    assert running.board.read()[0].message.startswith("connected since")


async def test_fault_22_a_burst_is_received_whole_and_memory_stays_bounded() -> None:
    async with run_listener_and_venue(Script(rate=200)) as (exchange, running):
        await running.until(lambda: len(tick_numbers(running)) > 20)
        running.spool.frames.clear()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        await exchange.burst(20, 1.0)
        exchange.stall()
        ticks = len(exchange.ticks)
        await running.until(lambda: tick_numbers(running)[-1] == ticks - 1)
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        numbers = tick_numbers(running)
        assert numbers == list(range(numbers[0], ticks))
        assert grown < 30e6
        assert running.feeds.gaps == []


async def test_fault_23_garbage_is_stored_like_any_frame() -> None:
    async with run_listener_and_venue(QUIET) as (exchange, running):
        sent = [await exchange.garbage(kind) for kind in ("bad json", "deep", "utf8", "nan", "no json", "empty")]
        await running.until(lambda: len(running.spool.frames) == len(sent))
        assert running.spool.values == sent
        assert running.state.connects == 1


async def test_fault_23_a_frame_that_is_too_large_costs_the_connection_and_is_a_gap() -> None:
    async with run_listener_and_venue() as (exchange, running):
        await running.until(lambda: len(tick_numbers(running)) > 10)
        await exchange.garbage("huge")
        await running.until(lambda: len(running.feeds.gaps) == 1 and running.state.state == "connected")
        assert running.feeds.gaps[0].cause == "connection lost"
        assert "more than 16,777,216 bytes" in running.feeds.gaps[0].detail
        await wait_for_more(running)
        check_each_tick_is_received_once_or_in_a_gap(exchange, running)


async def test_repeats_and_disorder_are_stored_as_they_arrive() -> None:
    async with run_listener_and_venue() as (exchange, running):
        exchange.repeat(3)
        exchange.reorder(4)
        await running.until(lambda: len(tick_numbers(running)) > 200)
        exchange.stall()
        sent = [frame.value for frame in exchange.sent]
        await running.until(lambda: running.spool.values == sent)
        assert len(set(tick_numbers(running))) < len(tick_numbers(running)) / 2


# -- gaps --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", ["closed by the venue", "connection lost"])
async def test_each_hanging_up_is_one_gap_from_the_last_frame_to_the_new_subscription(cause: str) -> None:
    async with run_listener_and_venue() as (exchange, running):
        for times in range(1, 4):
            await wait_for_more(running)
            if cause == "closed by the venue":
                await exchange.close(1001, "going away")
            else:
                exchange.abort()
            await wait_for_gaps(running, times)
        await wait_for_more(running)
        assert running.feeds.causes == [cause] * 3
        check_gaps_fit_the_frames(running)
        check_each_tick_is_received_once_or_in_a_gap(exchange, running)
        assert exchange.connections == 4
        assert len(exchange.requests) == 4 * 3


def check_gaps_fit_the_frames(running: RunningListener) -> None:
    """Each gap begins with the last frame of a connection and ends before the first of the next, or as much later as the
    handshake took."""
    frames = running.spool.frames
    changes = [(a, b) for a, b in pairwise(frames) if a.connection != b.connection]
    assert len(changes) == len(running.feeds.gaps)
    for (last, first), gap in zip(changes, running.feeds.gaps, strict=True):
        assert gap.since == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=last.received // 1000)
        assert gap.since < gap.until <= datetime.fromtimestamp(first.received / 1e9, UTC) + SLACK
        assert first.sequence == 0


async def test_a_venue_that_cannot_be_reached_for_a_while_is_one_gap() -> None:
    async with run_listener_and_venue() as (exchange, running):
        exchange.refuse(503)
        await exchange.close()
        await running.until(lambda: running.state.connects >= 5)
        await running.until(lambda: running.board.read()[0].state == "holding")
        exchange.accept()
        await running.until(lambda: running.state.state == "connected")
        assert running.feeds.causes == ["closed by the venue"]
        assert "more tries failed, the last: 127.0.0.1 answered 503" in running.feeds.gaps[0].detail
        await running.until(lambda: running.board.read()[0].state == "waiting")


async def test_fault_17_a_venue_that_answers_pings_and_sends_nothing_is_stale() -> None:
    source = stream(stale_seconds=0.5, ping_seconds=0.1)
    async with run_exchange(TICKING) as exchange, run_listener(exchange.address, source) as running:
        await running.until(lambda: len(tick_numbers(running)) > 20)
        exchange.mute()
        await running.until(lambda: running.feeds.causes == ["stale"])
        exchange.resume()
        await wait_for_more(running)
        check_each_tick_is_received_once_or_in_a_gap(exchange, running)


async def test_fault_18_a_quiet_market_whose_venue_pings_is_not_dead() -> None:
    source = stream(stale_seconds=0.3)
    async with (
        run_exchange(Script(rate=0.001, ping_seconds=0.1)) as exchange,
        run_listener(exchange.address, source) as running,
    ):
        await running.until(lambda: running.state.frames >= 10)  # more than three times the limit
        assert (exchange.connections, running.feeds.gaps) == (1, [])


async def test_fault_21_a_half_open_connection_is_noticed_and_replaced() -> None:
    source = stream(ping_seconds=0.3)
    async with run_exchange(TICKING) as exchange, run_listener(exchange.address, source) as running:
        await running.until(lambda: len(tick_numbers(running)) > 20)
        exchange.half_open()
        await running.until(lambda: running.feeds.causes == ["connection lost"])
        assert "ping" in running.feeds.gaps[0].detail
        await wait_for_more(running)
        check_each_tick_is_received_once_or_in_a_gap(exchange, running)


async def test_a_full_spool_sheds_records_a_gap_and_goes_on() -> None:
    async with run_listener_and_venue() as (exchange, running):
        await running.until(lambda: len(tick_numbers(running)) > 20)
        running.spool.full = True
        await running.until(lambda: running.state.shed > 50)
        await running.until(lambda: running.feeds.notes[-1] == "shedding")
        await running.until(lambda: running.board.read()[0].state == "holding")
        assert "the spool is full" in running.state.detail
        running.spool.full = False
        await running.until(lambda: running.feeds.causes == ["spool full"])
        await wait_for_more(running)
        assert f"{running.state.shed} frames were shed" in running.feeds.gaps[0].detail
        assert running.feeds.notes[-1] == "listening"
        assert [frame.sequence for frame in running.spool.frames] == list(range(len(running.spool.frames)))
        assert exchange.connections == 1
        check_each_tick_is_received_once_or_in_a_gap(exchange, running)


async def test_a_spool_that_is_full_again_and_again_does_not_make_a_gap_of_each_frame() -> None:
    async with run_listener_and_venue() as (_, running):
        begun = running.state.frames
        while running.state.frames < begun + 200:
            running.spool.full = not running.spool.full
            await asyncio.sleep(0)
        running.spool.full = False
        await running.until(lambda: running.feeds.notes[-1] == "listening")
        assert 1 <= len(running.feeds.gaps) <= 12
        assert running.state.shed >= len(running.feeds.gaps)


async def test_a_ledger_that_cannot_be_written_stops_no_frame_and_loses_no_gap() -> None:
    async with run_listener_and_venue() as (exchange, running):
        running.feeds.broken = True
        await exchange.close()
        await wait_for_more(running)
        assert running.feeds.gaps == []
        running.feeds.broken = False
        await running.until(lambda: running.feeds.causes == ["closed by the venue"])
        check_each_tick_is_received_once_or_in_a_gap(exchange, running)


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_a_venue_that_refuses_us_is_tried_rarely_and_the_flow_holds(status: int) -> None:
    async with run_exchange(TICKING) as exchange:
        exchange.refuse(status)
        async with run_listener(exchange.address, backoff=(0.01, 0.4)) as running:
            await running.until(lambda: running.state.state == "refused")
            assert str(status) in running.state.detail
            assert running.board.read()[0].state == "holding"
            exchange.accept()
            await running.until(lambda: running.state.state == "connected")
            assert running.feeds.causes == ["refused by the venue"]
            assert exchange.connections <= 3


async def test_a_partial_refusal_is_reported_and_the_rest_still_received() -> None:
    async with run_exchange(replace(TICKING, max_symbols=2)) as exchange, run_listener(exchange.address) as running:
        await running.until(lambda: len(tick_numbers(running)) > 50)
        assert running.state.state == "refused"
        assert running.state.detail == "Subscribing to too many symbols"
        await running.until(lambda: running.board.read()[0].state == "holding")
        assert exchange.connections == 1
        assert running.feeds.notes[-1] == "refused"
        await exchange.close()
        await running.until(lambda: running.feeds.causes == ["refused by the venue"])
        assert "Subscribing to too many symbols; then" in running.feeds.gaps[0].detail


def escape_letters(text: str) -> str:
    return "".join(f"\\u{ord(letter):04x}" for letter in text)


@pytest.mark.parametrize("encode", [str, quote, escape_letters, lambda key: b64encode(f"user:{key}".encode()).decode()])
async def test_a_frame_that_says_the_key_back_is_stored_without_it(encode: Callable[[str], str]) -> None:
    async with run_listener_and_venue(QUIET) as (exchange, running):
        await exchange.send(json.dumps({"type": "odd", "msg": "KEY"}).replace("KEY", encode(KEY)).encode())
        await running.until(lambda: any(b"odd" in value for value in running.spool.values))
        (stored,) = (value for value in running.spool.values if b"odd" in value)
        assert b"(hidden)" in stored
        assert encode(KEY)[:12].encode() not in stored


async def test_the_key_is_in_no_message() -> None:
    async with run_listener_and_venue(QUIET) as (exchange, running):
        await exchange.send(json.dumps({"type": "error", "msg": f"Invalid API key {KEY}"}).encode())
        await running.until(lambda: running.state.state == "refused")
        assert running.state.detail == "Invalid API key …"
        assert [value for value in running.spool.values if KEY.encode() in value] == []
        assert any(b"Invalid API key (hidden)" in value for value in running.spool.values)
        await exchange.close(1008, f"bye {KEY}")
        await running.until(lambda: len(running.feeds.gaps) == 1)
        assert KEY not in f"{running.feeds.gaps}{running.board.read()}{running.state}"


async def test_the_key_is_in_no_log(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """O6: with the key in the address, as the venue requires, through a refusal, a hang-up and a stop."""
    async with run_exchange(TICKING) as exchange:

        def connect(url: str, hosts: Collection[str], **limits: Any) -> AbstractAsyncContextManager[Socket]:
            assert KEY in url
            return open_websocket(f"{exchange.address}?token={KEY}", hosts, **limits | {"allow_private": True})

        exchange.refuse(401)
        caplog.set_level("DEBUG")
        async with run_listener(connect=connect) as running:
            await running.until(lambda: running.state.state == "refused")
            exchange.accept()
            await wait_for_more(running)
            assert exchange.open_connections[0].token == KEY
            exchange.abort()
            await running.until(lambda: len(running.feeds.gaps) == 2)
    output = capsys.readouterr()
    assert "refused by the venue" in output.out + output.err
    assert KEY not in f"{output.out}{output.err}{caplog.text}{running.feeds}{running.board.read()}{running.state}"


# -- storms ------------------------------------------------------------------------------------------------------------


class ClosesAfter:
    """A socket that sends one frame and is closed by the venue after these seconds."""

    def __init__(self, clock: ManualClock, seconds: float) -> None:
        self.clock = clock
        self.left = seconds
        self.sent = False

    async def receive(self, seconds: float) -> bytes | None:
        await asyncio.sleep(0)
        if not self.sent:
            self.sent = True
            return b"{}"
        if self.left <= 0:
            raise FeedError("closed by the venue", "closed, code 1000")
        self.clock.seconds += min(seconds, self.left)
        self.left -= seconds
        return None

    async def send(self, text: str) -> None:
        assert text


@pytest.mark.parametrize("lives", [0.0, 2.0, 61.0])
async def test_fault_16_a_venue_that_hangs_up_again_and_again_gets_few_connections(lives: float) -> None:
    clock = ManualClock(datetime.now(UTC), chance=1.0)  # the shortest pause
    venue = ScriptedVenue(lambda _: ClosesAfter(clock, lives), clock)
    async with run_listener(
        source=stream(stale_seconds=300.0),
        connect=venue,
        clock=clock.to_clock(),
        timing=ListenerTiming(),
        backoff=(1.0, 60.0),
    ) as running:
        await running.until(lambda: clock.seconds > 3600)
    starts = [start for start in venue.connects if start < 3600]
    busiest = max(sum(1 for other in starts if 0 <= other - start < 60) for start in starts)
    assert busiest <= 10
    assert len(starts) >= 3600 / (lives + 10)  # nor does it give up
    assert len([gap for gap in running.feeds.gaps if gap.cause == "closed by the venue"]) >= len(starts) - 1
    if lives > 60:  # a good connection that ends is opened again at once
        assert all(later - start - lives < 2 for start, later in pairwise(starts))


@pytest.mark.parametrize("hours", [-2, 2])
async def test_fault_44_a_wall_clock_that_is_set_hides_no_gap(hours: int) -> None:
    begun = datetime.now(UTC)
    clock = ManualClock(begun, chance=1.0)  # the shortest pause

    class SetsTheClock(ClosesAfter):
        async def receive(self, seconds: float) -> bytes | None:
            if self.left <= 5 and clock.start == begun:
                clock.start += timedelta(hours=hours)
            return await super().receive(seconds)

    venue = ScriptedVenue(lambda _: SetsTheClock(clock, 10), clock)
    async with run_listener(
        source=stream(stale_seconds=300.0),
        connect=venue,
        clock=clock.to_clock(),
        timing=ListenerTiming(),
        backoff=(1.0, 60.0),
    ) as running:
        await running.until(lambda: len(running.feeds.gaps) >= 3)
    gap = running.feeds.gaps[0]
    again = begun + timedelta(seconds=venue.connects[1], hours=hours)
    assert abs(gap.until - again) < timedelta(seconds=1)
    missed = gap.until - gap.since
    assert timedelta(seconds=10) < missed < timedelta(seconds=12, hours=max(hours, 0))
    assert all(gap.since <= gap.until for gap in running.feeds.gaps)


async def test_its_heart_beats_while_it_listens_and_while_it_waits() -> None:
    async with run_listener_and_venue() as (exchange, running):
        await running.until(lambda: running.board.read()[0].beats > 5)
        assert running.board.read()[0].expected_per_minute == 600
        exchange.refuse(403)
        await exchange.close()
        await running.until(lambda: running.state.state == "refused")
        beats = running.board.read()[0].beats
        await running.until(lambda: running.board.read()[0].beats > beats + 3)


# -- one process after another -----------------------------------------------------------------------------------------

LONG_AGO = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


async def resumed(noted: tuple[str, datetime] | None, last_received: datetime | None) -> list[Gap]:
    async with run_exchange(QUIET) as exchange:
        feeds = MemoryFeeds(noted=noted)
        async with run_listener(exchange.address, feeds=feeds, last_received=last_received) as running:
            await running.until(lambda: running.state.state == "connected")
            return list(feeds.gaps)


async def test_the_first_start_of_all_is_no_gap() -> None:
    assert await resumed(None, None) == []


@pytest.mark.parametrize(
    ("state", "cause"), [("stopped", "stopped"), ("listening", "crash"), ("shedding", "crash"), ("refused", "crash")]
)
async def test_the_time_between_two_processes_is_a_gap(state: str, cause: str) -> None:
    earlier = LONG_AGO - timedelta(minutes=1)
    (gap,) = await resumed((state, LONG_AGO), earlier)
    assert (gap.since, gap.cause) == (earlier, cause)
    assert gap.until > datetime.now(UTC) - timedelta(minutes=1)
    (gap,) = await resumed((state, LONG_AGO), None)
    assert gap.since == LONG_AGO
    (gap,) = await resumed((state, earlier), LONG_AGO)
    assert gap.since == (earlier if state in {"shedding", "refused"} else LONG_AGO)


async def test_a_clean_stop_is_noted_and_the_next_start_knows_of_it() -> None:
    feeds, spool = MemoryFeeds(), RecordingSpool()
    async with run_exchange(TICKING) as exchange:
        async with run_listener(exchange.address, feeds=feeds, spool=spool) as running:
            await running.until(lambda: len(tick_numbers(running)) > 50)
        assert feeds.notes == ["listening", "stopped"]
        last = datetime.fromtimestamp(spool.frames[-1].received / 1e9, UTC)
        async with run_listener(exchange.address, feeds=feeds, spool=spool, last_received=last) as running:
            await wait_for_more(running)
            assert feeds.causes == ["stopped"]
            check_each_tick_is_received_once_or_in_a_gap(exchange, running)


@pytest.mark.parametrize("how", ["shedding", "pausing"])
async def test_a_stop_in_an_outage_writes_it_down(how: str) -> None:
    async with run_listener_and_venue() as (exchange, running):
        await running.until(lambda: len(tick_numbers(running)) > 10)
        if how == "shedding":
            running.spool.full = True
            await running.until(lambda: running.state.shed > 10)
        else:
            exchange.refuse(403)
            await exchange.close()
            await running.until(lambda: running.state.state == "refused")
        await running.stop()
        assert running.feeds.causes == ["spool full" if how == "shedding" else "closed by the venue"]
        assert running.feeds.notes[-1] == "stopped"


async def test_a_bug_in_the_listener_is_a_gap_of_its_own() -> None:
    def failing(value: bytes) -> str:
        if value == b"now":
            raise ZeroDivisionError
        return ""

    source = stream(venue_error=failing)
    async with run_exchange(TICKING) as exchange, run_listener(exchange.address, source) as running:
        await running.until(lambda: len(tick_numbers(running)) > 10)
        await exchange.send(b"now")
        await running.until(lambda: running.feeds.causes == ["crash"])
        assert "ZeroDivisionError" in running.feeds.gaps[0].detail
        await wait_for_more(running)
        check_each_tick_is_received_once_or_in_a_gap(exchange, running)


# -- the venue's own numbers -------------------------------------------------------------------------------------------


def venue_number(value: bytes) -> tuple[str, int] | None:
    channel, _, number = value.partition(b" ")
    return (channel.decode(), int(number)) if number else None


async def send_numbers(running: RunningListener, exchange: Exchange, numbers: list[int]) -> None:
    before = len(running.spool.frames)
    for number in numbers:
        await exchange.send(b"prices %d" % number)
    await running.until(lambda: len(running.spool.frames) >= before + len(numbers))


def run_numbered_listener(refill: object = None) -> AbstractAsyncContextManager[tuple[Exchange, RunningListener]]:
    @asynccontextmanager
    async def run() -> AsyncIterator[tuple[Exchange, RunningListener]]:
        source = stream(venue_number=venue_number, refill=refill)
        async with run_exchange(QUIET) as exchange, run_listener(exchange.address, source) as running:
            await running.until(lambda: running.state.state == "connected")
            yield exchange, running

    return run()


async def test_fault_19_a_hole_in_the_numbers_is_a_gap_and_late_or_repeated_frames_are_stored() -> None:
    async with run_numbered_listener() as (exchange, running):
        await send_numbers(running, exchange, [1, 2, 3, 4, 10, 11, 11, 9, 12, 14, 13])
        await running.until(lambda: len(running.feeds.gaps) == 1)
        gap = running.feeds.gaps[0]
        assert (gap.cause, gap.symbol, gap.repaired_by) == ("sequence hole", "prices", "")
        assert gap.detail == "numbers 5 to 9, of which 1 came later"
        assert gap.since < gap.until
        await send_numbers(running, exchange, [16])
        await running.until(lambda: len(running.feeds.gaps) == 2)
        assert running.feeds.gaps[1].detail == "number 15"


async def test_fault_19_a_hole_is_refilled_where_the_venue_allows_it() -> None:
    requests = []

    async def refill(channel: str, first: int, last: int) -> list[bytes]:
        await asyncio.sleep(0)
        requests.append((channel, first, last))
        return [b"%b %d" % (channel.encode(), number) for number in range(first - 1, last + 2)]

    async with run_numbered_listener(refill) as (exchange, running):
        await send_numbers(running, exchange, [1, 2, 8])
        await running.until(lambda: len(running.feeds.gaps) == 1)
        assert requests == [("prices", 3, 7)]
        assert running.feeds.gaps[0].repaired_by == "refill"
        assert sorted(number for _, number in map(venue_number, running.spool.values) if _) == [1, 2, 3, 4, 5, 6, 7, 8]  # type: ignore[misc]
        assert [frame.sequence for frame in running.spool.frames] == list(range(8))


async def test_a_refill_that_fails_leaves_the_gap_open_and_numbering_begins_again_with_a_connection() -> None:
    async def refill(channel: str, first: int, last: int) -> list[bytes]:
        raise FeedError("connection lost", f"no answer for {channel} {first} {last}")

    async with run_numbered_listener(refill) as (exchange, running):
        await send_numbers(running, exchange, [1, 3])
        await running.until(lambda: len(running.feeds.gaps) == 1)
        assert running.feeds.gaps[0].repaired_by == ""
        await exchange.close()
        await running.until(lambda: running.state.connects == 2 and running.state.state == "connected")
        await send_numbers(running, exchange, [100, 101])
        await send_numbers(running, exchange, [103])
        await running.stop()
        assert running.feeds.causes == ["sequence hole", "closed by the venue", "sequence hole"]


def test_the_timing_of_the_tests_is_not_the_daemons() -> None:
    assert ListenerTiming().connects / ListenerTiming().window <= 10 / 60
    assert FAST_TIMING.shed < ListenerTiming().shed
