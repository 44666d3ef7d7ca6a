"""Listening: every frame is taken, or the span in which it was missed is a row. The numbers are those of the fault table."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from spotlightd.clients.http.websocket import connecting
from spotlightd.demo.exchange import Exchange, Script, exchanging
from spotlightd.demo.tapes import taped
from spotlightd.flows.stream.timing import ListenerTiming
from spotlightd.model.offsets import Gap
from spotlightd.model.stream import FeedError
from spotlightd.ports.publisher import Socket
from tests.flows.listening import (
    BRISK,
    KEY,
    NAME,
    Desk,
    HandClock,
    MemoryFeeds,
    RecordingSpool,
    ScriptedVenue,
    listening,
    stream,
)

TICKING = Script(rate=500)
QUIET = Script(rate=0.001, ping_seconds=3600)
SLACK = timedelta(seconds=0.5)  # what was sent may be on its way for so long


@asynccontextmanager
async def at_work(script: Script = TICKING) -> AsyncIterator[tuple[Exchange, Desk]]:
    async with exchanging(script) as exchange, listening(exchange.address) as desk:
        await desk.until(lambda: desk.state.state == "connected")
        yield exchange, desk


def counted(desk: Desk) -> list[int]:
    """The numbers of the made ticks that were taken, in order."""
    found = (json.loads(one) for one in desk.spool.values if one.startswith(b'{"data"'))
    return [trade["v"] for one in found for trade in one["data"]]


async def more(desk: Desk, ticks: int = 50) -> None:
    """Wait until that many more ticks were taken."""
    wanted = len(counted(desk)) + ticks
    await desk.until(lambda: len(counted(desk)) >= wanted)


async def gaps(desk: Desk, number: int) -> None:
    await desk.until(lambda: len(desk.feeds.gaps) == number)


def check_each_tick_is_taken_once_or_in_a_gap(exchange: Exchange, desk: Desk) -> None:
    """O1 and O2, for all that the market made between the first and the last that was taken."""
    taken = counted(desk)
    assert len(taken) == len(set(taken))
    missed = sorted(set(range(taken[0], taken[-1])) - set(taken))
    spans = [(one.since - SLACK, one.until + SLACK) for one in desk.feeds.gaps]
    for number in missed:
        at = datetime.fromtimestamp(exchange.ticks[number] / 1e9, UTC)
        assert any(since <= at <= until for since, until in spans), f"tick {number} of {at} is in no gap: {spans}"


# -- frames ------------------------------------------------------------------------------------------------------------


async def test_frames_are_taken_untouched_numbered_and_timed() -> None:
    async with at_work(Script(speed=50)) as (exchange, desk):
        real = {one.value for one in taped()}
        await desk.until(lambda: real <= set(desk.spool.values))
        assert [one.sequence for one in desk.spool.frames] == list(range(len(desk.spool.frames)))
        assert len({one.connection for one in desk.spool.frames}) == 1
        assert 0 < desk.spool.frames[0].connection < 1 << 63
        assert desk.spool.values == [one.value for one in exchange.sent][: len(desk.spool.values)]
        times = [one.received for one in desk.spool.frames]
        assert times == sorted(times)
        assert desk.feeds.gaps == []


async def test_what_it_does_can_be_asked() -> None:
    async with at_work() as (exchange, desk):
        await desk.until(lambda: desk.state.frames >= 100)
        await desk.until(lambda: "frames/s" in desk.board.read()[0].says)
        state = desk.state
        assert (state.state, state.connects, state.shed, state.source) == ("connected", 1, 0, NAME)
        assert state.size > 50 * state.frames
        assert state.last_frame_at is not None
        assert len(exchange.told) == 3
        await desk.stop()
        assert desk.state.state == "stopped"
    assert desk.board.read()[0].says.startswith("connected since")


async def test_fault_22_a_burst_is_taken_whole_and_memory_stays_bounded() -> None:
    async with at_work(Script(rate=200)) as (exchange, desk):
        await desk.until(lambda: len(counted(desk)) > 20)
        desk.spool.frames.clear()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        await exchange.burst(20, 1.0)
        exchange.stall()
        made = len(exchange.ticks)
        await desk.until(lambda: counted(desk)[-1] == made - 1)
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        taken = counted(desk)
        assert taken == list(range(taken[0], made))
        assert grown < 30e6
        assert desk.feeds.gaps == []


async def test_fault_23_garbage_is_kept_like_everything_else() -> None:
    async with at_work(QUIET) as (exchange, desk):
        sent = [await exchange.garbage(kind) for kind in ("bad json", "deep", "utf8", "nan", "no json", "empty")]
        await desk.until(lambda: len(desk.spool.frames) == len(sent))
        assert desk.spool.values == sent
        assert desk.state.connects == 1


async def test_fault_23_a_frame_that_is_too_large_costs_the_connection_and_is_a_gap() -> None:
    async with at_work() as (exchange, desk):
        await desk.until(lambda: len(counted(desk)) > 10)
        await exchange.garbage("huge")
        await desk.until(lambda: len(desk.feeds.gaps) == 1 and desk.state.state == "connected")
        assert desk.feeds.gaps[0].cause == "connection lost"
        assert "more than 16,777,216 bytes" in desk.feeds.gaps[0].says
        await more(desk)
        check_each_tick_is_taken_once_or_in_a_gap(exchange, desk)


async def test_repeats_and_disorder_are_kept_as_they_come() -> None:
    async with at_work() as (exchange, desk):
        exchange.repeat(3)
        exchange.reorder(4)
        await desk.until(lambda: len(counted(desk)) > 200)
        exchange.stall()
        sent = [one.value for one in exchange.sent]
        await desk.until(lambda: desk.spool.values == sent)
        assert len(set(counted(desk))) < len(counted(desk)) / 2


# -- gaps --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", ["closed by the venue", "connection lost"])
async def test_each_hanging_up_is_one_gap_from_the_last_frame_to_the_new_subscription(cause: str) -> None:
    async with at_work() as (exchange, desk):
        for times in range(1, 4):
            await more(desk)
            if cause == "closed by the venue":
                await exchange.close(1001, "going away")
            else:
                exchange.abort()
            await gaps(desk, times)
        await more(desk)
        assert desk.feeds.causes == [cause] * 3
        check_gaps_fit_the_frames(desk)
        check_each_tick_is_taken_once_or_in_a_gap(exchange, desk)
        assert exchange.connections == 4
        assert len(exchange.told) == 4 * 3


def check_gaps_fit_the_frames(desk: Desk) -> None:
    """Each gap begins with the last frame of a connection and ends before the first of the next, or as much later as the
    handshake took."""
    frames = desk.spool.frames
    changes = [(a, b) for a, b in pairwise(frames) if a.connection != b.connection]
    assert len(changes) == len(desk.feeds.gaps)
    for (last, first), gap in zip(changes, desk.feeds.gaps, strict=True):
        assert gap.since == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=last.received // 1000)
        assert gap.since < gap.until <= datetime.fromtimestamp(first.received / 1e9, UTC) + SLACK
        assert first.sequence == 0


async def test_a_venue_that_cannot_be_reached_for_a_while_is_one_gap() -> None:
    async with at_work() as (exchange, desk):
        exchange.refuse(503)
        await exchange.close()
        await desk.until(lambda: desk.state.connects >= 5)
        await desk.until(lambda: desk.board.read()[0].state == "holding")
        exchange.accept()
        await desk.until(lambda: desk.state.state == "connected")
        assert desk.feeds.causes == ["closed by the venue"]
        assert "more tries failed, the last: 127.0.0.1 answered 503" in desk.feeds.gaps[0].says
        await desk.until(lambda: desk.board.read()[0].state == "waiting")


async def test_fault_17_a_venue_that_answers_pings_and_sends_nothing_is_stale() -> None:
    source = stream(stale_seconds=0.5, ping_seconds=0.1)
    async with exchanging(TICKING) as exchange, listening(exchange.address, source) as desk:
        await desk.until(lambda: len(counted(desk)) > 20)
        exchange.mute()
        await desk.until(lambda: desk.feeds.causes == ["stale"])
        exchange.resume()
        await more(desk)
        check_each_tick_is_taken_once_or_in_a_gap(exchange, desk)


async def test_fault_18_a_quiet_market_whose_venue_pings_is_not_dead() -> None:
    source = stream(stale_seconds=0.3)
    async with (
        exchanging(Script(rate=0.001, ping_seconds=0.1)) as exchange,
        listening(exchange.address, source) as desk,
    ):
        await desk.until(lambda: desk.state.frames >= 10)  # more than three times the limit
        assert (exchange.connections, desk.feeds.gaps) == (1, [])


async def test_fault_21_a_half_open_connection_is_found_and_made_anew() -> None:
    source = stream(ping_seconds=0.3)
    async with exchanging(TICKING) as exchange, listening(exchange.address, source) as desk:
        await desk.until(lambda: len(counted(desk)) > 20)
        exchange.half_open()
        await desk.until(lambda: desk.feeds.causes == ["connection lost"])
        assert "ping" in desk.feeds.gaps[0].says
        await more(desk)
        check_each_tick_is_taken_once_or_in_a_gap(exchange, desk)


async def test_a_full_spool_sheds_says_so_and_goes_on() -> None:
    async with at_work() as (exchange, desk):
        await desk.until(lambda: len(counted(desk)) > 20)
        desk.spool.full = True
        await desk.until(lambda: desk.state.shed > 50)
        await desk.until(lambda: desk.feeds.notes[-1] == "shedding")
        await desk.until(lambda: desk.board.read()[0].state == "holding")
        assert "the spool is full" in desk.state.says
        desk.spool.full = False
        await desk.until(lambda: desk.feeds.causes == ["spool full"])
        await more(desk)
        assert f"{desk.state.shed} frames were shed" in desk.feeds.gaps[0].says
        assert desk.feeds.notes[-1] == "listening"
        assert [one.sequence for one in desk.spool.frames] == list(range(len(desk.spool.frames)))
        assert exchange.connections == 1
        check_each_tick_is_taken_once_or_in_a_gap(exchange, desk)


async def test_a_spool_that_is_full_again_and_again_does_not_make_a_gap_of_each_frame() -> None:
    async with at_work() as (_, desk):
        begun = desk.state.frames
        while desk.state.frames < begun + 200:
            desk.spool.full = not desk.spool.full
            await asyncio.sleep(0)
        desk.spool.full = False
        await desk.until(lambda: desk.feeds.notes[-1] == "listening")
        assert 1 <= len(desk.feeds.gaps) <= 12
        assert desk.state.shed >= len(desk.feeds.gaps)


async def test_a_ledger_that_cannot_be_written_stops_no_frame_and_loses_no_gap() -> None:
    async with at_work() as (exchange, desk):
        desk.feeds.broken = True
        await exchange.close()
        await more(desk)
        assert desk.feeds.gaps == []
        desk.feeds.broken = False
        await desk.until(lambda: desk.feeds.causes == ["closed by the venue"])
        check_each_tick_is_taken_once_or_in_a_gap(exchange, desk)


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_a_venue_that_refuses_us_is_asked_rarely_and_the_operator_told(status: int) -> None:
    async with exchanging(TICKING) as exchange:
        exchange.refuse(status)
        async with listening(exchange.address, backoff=(0.01, 0.4)) as desk:
            await desk.until(lambda: desk.state.state == "refused")
            assert str(status) in desk.state.says
            assert desk.board.read()[0].state == "holding"
            exchange.accept()
            await desk.until(lambda: desk.state.state == "connected")
            assert desk.feeds.causes == ["refused by the venue"]
            assert exchange.connections <= 3


async def test_a_refusal_of_a_part_is_said_and_the_rest_still_taken() -> None:
    async with exchanging(replace(TICKING, max_symbols=2)) as exchange, listening(exchange.address) as desk:
        await desk.until(lambda: len(counted(desk)) > 50)
        assert desk.state.state == "refused"
        assert desk.state.says == "Subscribing to too many symbols"
        await desk.until(lambda: desk.board.read()[0].state == "holding")
        assert exchange.connections == 1
        assert desk.feeds.notes[-1] == "refused"
        await exchange.close()
        await desk.until(lambda: desk.feeds.causes == ["refused by the venue"])
        assert "Subscribing to too many symbols; then" in desk.feeds.gaps[0].says


async def test_the_key_is_in_no_sentence() -> None:
    async with at_work(QUIET) as (exchange, desk):
        await exchange.send(json.dumps({"type": "error", "msg": f"Invalid API key {KEY}"}).encode())
        await desk.until(lambda: desk.state.state == "refused")
        assert desk.state.says == "Invalid API key …"
        await exchange.close(1008, f"bye {KEY}")
        await desk.until(lambda: len(desk.feeds.gaps) == 1)
        assert KEY not in f"{desk.feeds.gaps}{desk.board.read()}{desk.state}"


async def test_the_key_is_in_no_log(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """O6: with the key in the address, as the venue wants it, through a refusal, a hanging up and a stop."""
    async with exchanging(TICKING) as exchange:

        def connect(url: str, hosts: Collection[str], **limits: Any) -> AbstractAsyncContextManager[Socket]:
            assert KEY in url
            return connecting(f"{exchange.address}?token={KEY}", hosts, **limits | {"allow_private": True})

        exchange.refuse(401)
        caplog.set_level("DEBUG")
        async with listening(connect=connect) as desk:
            await desk.until(lambda: desk.state.state == "refused")
            exchange.accept()
            await more(desk)
            assert exchange.lines[0].token == KEY
            exchange.abort()
            await desk.until(lambda: len(desk.feeds.gaps) == 2)
    heard = capsys.readouterr()
    assert "refused by the venue" in heard.out + heard.err
    assert KEY not in f"{heard.out}{heard.err}{caplog.text}{desk.feeds}{desk.board.read()}{desk.state}"


# -- storms ------------------------------------------------------------------------------------------------------------


class ClosesAfter:
    """A socket that sends one frame and is closed by the venue after so many seconds."""

    def __init__(self, hand: HandClock, seconds: float) -> None:
        self.hand = hand
        self.left = seconds
        self.sent = False

    async def receive(self, seconds: float) -> bytes | None:
        await asyncio.sleep(0)
        if not self.sent:
            self.sent = True
            return b"{}"
        if self.left <= 0:
            raise FeedError("closed by the venue", "closed, code 1000")
        self.hand.seconds += min(seconds, self.left)
        self.left -= seconds
        return None

    async def send(self, text: str) -> None:
        assert text


@pytest.mark.parametrize("lives", [0.0, 2.0, 61.0])
async def test_fault_16_a_venue_that_hangs_up_again_and_again_is_never_stormed(lives: float) -> None:
    hand = HandClock()
    venue = ScriptedVenue(lambda _: ClosesAfter(hand, lives), hand)
    async with listening(
        source=stream(stale_seconds=300.0),
        connect=venue,
        clock=hand.clock(),
        patience=ListenerTiming(),
        backoff=(1.0, 60.0),
    ) as desk:
        await desk.until(lambda: hand.seconds > 3600)
    begun = [one for one in venue.connects if one < 3600]
    busiest = max(sum(1 for other in begun if 0 <= other - one < 60) for one in begun)
    assert busiest <= 10
    assert len(begun) >= 3600 / (lives + 10)  # nor does it give up
    assert len([one for one in desk.feeds.gaps if one.cause == "closed by the venue"]) >= len(begun) - 1
    if lives > 60:  # a good connection that ends is made anew at once
        assert all(later - one - lives < 2 for one, later in pairwise(begun))


@pytest.mark.parametrize("hours", [-2, 2])
async def test_fault_44_a_wall_clock_that_is_set_hides_no_gap(hours: int) -> None:
    hand = HandClock()

    class SetsTheClock(ClosesAfter):
        async def receive(self, seconds: float) -> bytes | None:
            if self.left <= 5 and not hand.set_back:
                hand.set_back = -3600 * hours
            return await super().receive(seconds)

    venue = ScriptedVenue(lambda _: SetsTheClock(hand, 10), hand)
    clock = hand.clock()
    begun = clock.wall()
    async with listening(
        source=stream(stale_seconds=300.0), connect=venue, clock=clock, patience=ListenerTiming(), backoff=(1.0, 60.0)
    ) as desk:
        await desk.until(lambda: len(desk.feeds.gaps) >= 3)
    gap = desk.feeds.gaps[0]
    again = datetime.fromtimestamp(begun / 1e9, UTC) + timedelta(seconds=venue.connects[1], hours=hours)
    assert abs(gap.until - again) < timedelta(seconds=1)
    missed = gap.until - gap.since
    assert timedelta(seconds=10) < missed < timedelta(seconds=12, hours=max(hours, 0))
    assert all(gap.since <= gap.until for gap in desk.feeds.gaps)


async def test_its_heart_beats_while_it_listens_and_while_it_waits() -> None:
    async with at_work() as (exchange, desk):
        await desk.until(lambda: desk.board.read()[0].beats > 5)
        assert desk.board.read()[0].expected_per_minute == 600
        exchange.refuse(403)
        await exchange.close()
        await desk.until(lambda: desk.state.state == "refused")
        beats = desk.board.read()[0].beats
        await desk.until(lambda: desk.board.read()[0].beats > beats + 3)


# -- one process after another -----------------------------------------------------------------------------------------

LONG_AGO = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


async def resumed(noted: tuple[str, datetime] | None, last_received: datetime | None) -> list[Gap]:
    async with exchanging(QUIET) as exchange:
        feeds = MemoryFeeds(noted=noted)
        async with listening(exchange.address, feeds=feeds, last_received=last_received) as desk:
            await desk.until(lambda: desk.state.state == "connected")
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
    async with exchanging(TICKING) as exchange:
        async with listening(exchange.address, feeds=feeds, spool=spool) as desk:
            await desk.until(lambda: len(counted(desk)) > 50)
        assert feeds.notes == ["listening", "stopped"]
        last = datetime.fromtimestamp(spool.frames[-1].received / 1e9, UTC)
        async with listening(exchange.address, feeds=feeds, spool=spool, last_received=last) as desk:
            await more(desk)
            assert feeds.causes == ["stopped"]
            check_each_tick_is_taken_once_or_in_a_gap(exchange, desk)


@pytest.mark.parametrize("how", ["shedding", "pausing"])
async def test_a_stop_in_an_outage_writes_it_down(how: str) -> None:
    async with at_work() as (exchange, desk):
        await desk.until(lambda: len(counted(desk)) > 10)
        if how == "shedding":
            desk.spool.full = True
            await desk.until(lambda: desk.state.shed > 10)
        else:
            exchange.refuse(403)
            await exchange.close()
            await desk.until(lambda: desk.state.state == "refused")
        await desk.stop()
        assert desk.feeds.causes == ["spool full" if how == "shedding" else "closed by the venue"]
        assert desk.feeds.notes[-1] == "stopped"


async def test_a_mistake_of_ours_is_a_gap_of_its_own() -> None:
    def mistaken(value: bytes) -> str:
        if value == b"now":
            raise ZeroDivisionError
        return ""

    source = stream(trouble=mistaken)
    async with exchanging(TICKING) as exchange, listening(exchange.address, source) as desk:
        await desk.until(lambda: len(counted(desk)) > 10)
        await exchange.send(b"now")
        await desk.until(lambda: desk.feeds.causes == ["crash"])
        assert "ZeroDivisionError" in desk.feeds.gaps[0].says
        await more(desk)
        check_each_tick_is_taken_once_or_in_a_gap(exchange, desk)


# -- the venue's own numbers -------------------------------------------------------------------------------------------


def numbered(value: bytes) -> tuple[str, int] | None:
    channel, _, number = value.partition(b" ")
    return (channel.decode(), int(number)) if number else None


async def fed(desk: Desk, exchange: Exchange, numbers: list[int]) -> None:
    before = len(desk.spool.frames)
    for number in numbers:
        await exchange.send(b"prices %d" % number)
    await desk.until(lambda: len(desk.spool.frames) >= before + len(numbers))


def numbering(refill: object = None) -> AbstractAsyncContextManager[tuple[Exchange, Desk]]:
    @asynccontextmanager
    async def made() -> AsyncIterator[tuple[Exchange, Desk]]:
        source = stream(numbered=numbered, refill=refill)
        async with exchanging(QUIET) as exchange, listening(exchange.address, source) as desk:
            await desk.until(lambda: desk.state.state == "connected")
            yield exchange, desk

    return made()


async def test_fault_19_a_hole_in_the_numbers_is_a_gap_and_what_comes_late_or_twice_is_kept() -> None:
    async with numbering() as (exchange, desk):
        await fed(desk, exchange, [1, 2, 3, 4, 10, 11, 11, 9, 12, 14, 13])
        await desk.until(lambda: len(desk.feeds.gaps) == 1)
        gap = desk.feeds.gaps[0]
        assert (gap.cause, gap.symbol, gap.repaired_by) == ("sequence hole", "prices", "")
        assert gap.says == "numbers 5 to 9, of which 1 came later"
        assert gap.since < gap.until
        await fed(desk, exchange, [16])
        await desk.until(lambda: len(desk.feeds.gaps) == 2)
        assert desk.feeds.gaps[1].says == "number 15"


async def test_fault_19_a_hole_is_refilled_where_the_venue_allows_it() -> None:
    asked = []

    async def refill(channel: str, first: int, last: int) -> list[bytes]:
        await asyncio.sleep(0)
        asked.append((channel, first, last))
        return [b"%b %d" % (channel.encode(), one) for one in range(first - 1, last + 2)]

    async with numbering(refill) as (exchange, desk):
        await fed(desk, exchange, [1, 2, 8])
        await desk.until(lambda: len(desk.feeds.gaps) == 1)
        assert asked == [("prices", 3, 7)]
        assert desk.feeds.gaps[0].repaired_by == "refill"
        assert sorted(one for _, one in map(numbered, desk.spool.values) if _) == [1, 2, 3, 4, 5, 6, 7, 8]  # type: ignore[misc]
        assert [one.sequence for one in desk.spool.frames] == list(range(8))


async def test_a_refill_that_fails_leaves_the_gap_open_and_numbers_begin_anew_with_a_connection() -> None:
    async def refill(channel: str, first: int, last: int) -> list[bytes]:
        raise FeedError("connection lost", f"no answer for {channel} {first} {last}")

    async with numbering(refill) as (exchange, desk):
        await fed(desk, exchange, [1, 3])
        await desk.until(lambda: len(desk.feeds.gaps) == 1)
        assert desk.feeds.gaps[0].repaired_by == ""
        await exchange.close()
        await desk.until(lambda: desk.state.connects == 2 and desk.state.state == "connected")
        await fed(desk, exchange, [100, 101])
        await fed(desk, exchange, [103])
        await desk.stop()
        assert desk.feeds.causes == ["sequence hole", "closed by the venue", "sequence hole"]


def test_the_patience_of_the_tests_is_not_the_daemons() -> None:
    assert ListenerTiming().connects / ListenerTiming().window <= 10 / 60
    assert BRISK.shed < ListenerTiming().shed
