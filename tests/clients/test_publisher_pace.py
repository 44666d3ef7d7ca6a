"""Rate limits and pauses, tested with a manual clock."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as some

from spotlightd.clients.http.publisher import HttpPublishers
from spotlightd.clients.http.rate_limit import HostQueues, parse_retry_after
from spotlightd.errors import PublisherError
from spotlightd.settings import sources
from tests.manual_clock import ManualClock

NOON = datetime(2021, 3, 1, 12, tzinfo=UTC)


async def wait_for_slot(queues: HostQueues, clock: ManualClock, host: str = "a") -> float:
    await queues.wait_for_slot(host)
    return clock.now()


@pytest.mark.parametrize("rate", [0.1, 0.3, 1.0, 3.0, 5.0, 7.0, 10.0])
async def test_turns_are_spaced_by_the_rate_however_many_wait(rate: float) -> None:
    clock = ManualClock()
    queues = HostQueues(clock.to_clock(), 120.0)
    queues.set_limit("a", rate)
    times = await asyncio.gather(*(wait_for_slot(queues, clock) for _ in range(50)))
    assert times == sorted(times)
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 1 / rate - 1e-9


async def test_a_rest_saves_up_no_burst() -> None:
    clock = ManualClock()
    queues = HostQueues(clock.to_clock(), 120.0)
    queues.set_limit("a", 2.0)
    await queues.wait_for_slot("a")
    clock.seconds += 3600.0
    times = await asyncio.gather(*(wait_for_slot(queues, clock) for _ in range(3)))
    assert [time - times[0] for time in times] == [0.0, 0.5, 1.0]


async def test_the_lowest_of_several_limits_holds_and_hosts_do_not_wait_for_each_other() -> None:
    clock = ManualClock()
    queues = HostQueues(clock.to_clock(), 120.0)
    for host, rate in (("a", 4.0), ("a", 1.0), ("a", 8.0), ("b", 4.0)):
        queues.set_limit(host, rate)
    started = clock.now()
    assert [await wait_for_slot(queues, clock, host) - started for host in "abab"] == [0.0, 0.0, 1.0, 1.0]


async def test_a_cancelled_waiter_holds_up_nobody() -> None:
    clock = ManualClock()
    queues = HostQueues(clock.to_clock(), 120.0)
    queues.set_limit("a", 1.0)
    await queues.wait_for_slot("a")
    waiting = [asyncio.create_task(queues.wait_for_slot("a")) for _ in range(3)]
    await clock.has_slept.wait()
    waiting[0].cancel()
    waiting[1].cancel()
    await waiting[2]
    assert clock.now() <= 1001.0


async def test_a_pause_that_grows_too_long_while_waiting_ends_the_wait() -> None:
    clock = ManualClock(seconds=1000.0)
    queues = HostQueues(clock.to_clock(), 120.0)
    queues.set_limit("a", 1.0)
    queues.pause("a", 100.0)
    queues.pause("a", 50.0)
    await queues.wait_for_slot("a")
    assert clock.now() == 1100.0
    queues.pause("a", 121.0)
    with pytest.raises(
        PublisherError, match=r"^a requested a pause, of which 121 s are left: not requested before that$"
    ):
        await queues.wait_for_slot("a")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0), ("30", 30.0), (" 30 ", 30.0), ("86401", 86_400.0), ("9" * 5000, 86_400.0),
        ("Mon, 01 Mar 2021 12:00:30 GMT", 30.0), ("Mon, 01 Mar 2021 11:00:00 GMT", 0.0),
        ("Mon, 01 Mar 2021 12:00:30", 30.0), ("Mon, 01 Mar 2021 13:01:00 +0100", 60.0), ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400.0),
        ("", None), ("-1", None), ("1.5", None), ("soon", None), ("٣", None),
    ],
)  # fmt: skip
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str, seconds: float | None) -> None:
    assert parse_retry_after(header, NOON) == seconds


@given(some.text())
def test_no_retry_after_breaks_us_or_stops_us_for_more_than_a_day(header: str) -> None:
    seconds = parse_retry_after(header, NOON)
    assert seconds is None or 0.0 <= seconds <= 86_400.0


@given(some.integers(1, 10_000), some.floats(0, 1, exclude_max=True))
def test_pauses_grow_to_a_bound_and_half_of_each_is_chance(attempt: int, chance: float) -> None:
    limits = sources.PublisherSettings(backoff_seconds=2.0, backoff_most_seconds=120.0)
    backoff = HttpPublishers(limits).backoff
    whole = min(2.0 * 2.0 ** min(attempt - 1, 10), 120.0)
    assert whole / 2 <= backoff.pause(attempt, lambda: chance) <= whole
