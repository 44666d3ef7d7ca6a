"""A machine that slept, or a process that was stopped, is a gap of that cause, and not a stale socket."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from spotlightd.flows.stream.feed.sleep import SleepWatch
from spotlightd.flows.stream.feed.timing import ListenerTiming
from spotlightd.model.offsets import Gap
from spotlightd.model.stream import FeedError
from tests.flows.listener_world import MemoryFeeds, ScriptedVenue, run_listener, stream
from tests.manual_clock import ManualClock

STALE_SECONDS = 120.0


class Venue:
    """A socket that sends a frame every second. After ten of them the machine sleeps, or the process stands still, for
    some seconds; then it goes on (`alive`), is silent (`mute`), or reports its end (`dead`)."""

    def __init__(self, clock: ManualClock, *, slept: float = 0.0, stopped: float = 0.0, then: str = "alive") -> None:
        self.clock, self.slept, self.stopped, self.then = clock, slept, stopped, then
        self.frames = 0

    async def receive(self, seconds: float) -> bytes | None:
        await asyncio.sleep(0)
        self.frames += 1
        self.clock.seconds += seconds
        if self.frames == 11:
            self.clock.slept += self.slept
            self.clock.seconds += self.stopped
            if self.then == "dead":
                raise FeedError("connection lost", "the venue did not answer our ping")
        return None if self.frames > 10 and self.then == "mute" else b"{}"

    async def send(self, text: str) -> None:
        assert text


async def find_gaps(then: str, *, slept: float = 0.0, stopped: float = 0.0) -> tuple[list[Gap], float]:
    """The gaps of the first connection, and the second at which the next one was tried; 0 when it was not."""
    clock, feeds = ManualClock(datetime.now(UTC), chance=1.0), MemoryFeeds()

    def serve(number: int) -> Venue:
        first = Venue(clock, slept=slept, stopped=stopped, then=then)
        return first if number == 1 else Venue(clock)

    venue = ScriptedVenue(serve, clock)
    async with run_listener(
        source=stream(stale_seconds=STALE_SECONDS),
        feeds=feeds,
        connect=venue,
        clock=clock.to_clock(),
        timing=ListenerTiming(),
        backoff=(1.0, 60.0),
    ) as running:
        await running.until(lambda: running.state.frames > 300)
        return list(feeds.gaps), venue.connects[1] if len(venue.connects) > 1 else 0.0


@pytest.mark.parametrize(
    ("slept", "stopped", "said"),
    [(3_600.0, 0.0, "this machine slept for 3,601 s"), (0.0, 60.0, "this process did not run for 61 s")],
)
@pytest.mark.parametrize("then", ["alive", "mute", "dead"])
async def test_a_time_without_running_is_told_apart_from_a_stale_socket(
    then: str, slept: float, stopped: float, said: str
) -> None:
    gaps, again = await find_gaps(then, slept=slept, stopped=stopped)
    (gap,) = gaps
    assert gap.cause == "asleep"
    assert gap.detail.startswith(said)
    assert gap.until - gap.since > timedelta(seconds=slept + stopped)
    assert bool(again) == (then != "alive")


async def test_a_connection_that_is_silent_after_a_long_sleep_is_replaced_soon() -> None:
    _, again = await find_gaps("mute", slept=3_600.0)
    assert 10 < again < 10 + STALE_SECONDS / 2


async def test_a_venue_that_takes_long_to_refuse_a_connection_is_no_sleep() -> None:
    clock, feeds = ManualClock(datetime.now(UTC), chance=1.0), MemoryFeeds()

    class Slow(Venue):
        async def receive(self, seconds: float) -> bytes | None:
            await asyncio.sleep(0)
            raise FeedError("connection lost", f"reset within {seconds:g} s")

        async def send(self, text: str) -> None:
            assert text
            self.clock.seconds += 20.0

    venue = ScriptedVenue(lambda _: Slow(clock), clock)
    async with run_listener(feeds=feeds, connect=venue, clock=clock.to_clock(), timing=ListenerTiming()) as running:
        await running.until(lambda: len(feeds.gaps) > 2)
        assert set(feeds.causes) == {"connection lost"}


async def test_a_quiet_socket_of_a_machine_that_ran_is_stale() -> None:
    gaps, _ = await find_gaps("mute")
    assert [gap.cause for gap in gaps] == ["stale"]


async def test_neither_a_busy_moment_nor_a_clock_that_is_set_is_a_sleep() -> None:
    assert (await find_gaps("alive", stopped=5.0))[0] == []
    clock = ManualClock()
    watch = SleepWatch(clock.to_clock(), 15.0)
    watch.start()
    clock.start += timedelta(hours=2)
    clock.seconds += 1.0
    assert watch.look() is None
