"""What every venue with numbers may do: holes, late and repeated frames, restarts and wraps of its count. Constructed."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from spotlightd.demo.exchange import Exchange, Script, run_exchange
from spotlightd.flows.stream.feed.channel_numbers import ChannelNumbers, Hole, Restart
from tests.flows.listener_world import RunningListener, run_listener, stream

GRACE = 1.0


def read_numbers(numbers: Sequence[int], *, seconds: float = 0.001) -> list[tuple[str, int, int]]:
    """What a channel finds in these numbers: ("hole", first, last) and ("restart", highest, first). A frame comes every
    so many seconds."""
    channel, found = ChannelNumbers("prices", numbers[0], 0), list[Hole | Restart]()
    for index, number in enumerate(numbers[1:], start=1):
        found += channel.note(number, index, now=index * seconds, grace=GRACE)
    return [
        ("restart", event.highest, event.first) if isinstance(event, Restart) else ("hole", event.first, event.last)
        for event in found
        if isinstance(event, Restart) or not event.is_filled
    ]


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        ([5, 6, 7, 10, 11], [("hole", 8, 9)]),
        ([5, 6, 8, 7, 9], []),  # late, within the hole
        ([5, 6, 7, 7, 7, 8, 8], []),  # repeated at once
        ([5, 6, 7, 6, 8, 9], []),  # one stray frame proves nothing
        ([8, 7, 6, 5, 12, 11, 10, 9, 13], []),  # groups in reverse
        ([1_000, 1_001, 1, 2, 3], [("restart", 1_001, 1)]),
        ([1_000, 1_001, 1, 2, 5, 6], [("restart", 1_001, 1), ("hole", 3, 4)]),
        ([1_000, 1_001, 1, 4, 5], [("restart", 1_001, 1), ("hole", 2, 3)]),  # a hole at once
        ([1, 2, 3, 1, 2, 5], [("restart", 3, 1), ("hole", 3, 4)]),  # counts that are close
        ([65_534, 65_535, 0, 1, 3], [("restart", 65_535, 0), ("hole", 2, 2)]),  # wrapped
        ([1_000, 1_003, 1, 2, 1_002, 3, 1_004, 4, 6], [("hole", 1_001, 1_002), ("restart", 1_003, 1), ("hole", 5, 5)]),
        ([90, 91, 1, 2, 92, 93], [("restart", 91, 1), ("hole", 3, 91)]),
    ],
)
def test_a_channel_finds_holes_and_restarts(numbers: list[int], found: list[tuple[str, int, int]]) -> None:
    assert read_numbers(numbers) == found


def test_a_hole_that_ends_in_the_numbers_of_the_former_count_is_seen_after_the_grace_period() -> None:
    assert read_numbers([1_000, 1_001, 1, 2, 990, 991, 992], seconds=0.4) == [("restart", 1_001, 1), ("hole", 3, 991)]


def test_an_old_hole_does_not_take_the_numbers_of_a_new_count() -> None:
    numbers = [0, *range(20, 1_001), 1, 2, 3, 9, 10, 20, 21]
    found = [("hole", 1, 19), ("restart", 1_000, 1), ("hole", 4, 8), ("hole", 11, 19)]
    assert read_numbers(numbers, seconds=10.0) == found


@pytest.mark.parametrize("seed", range(20))
def test_whatever_a_venue_does_each_missing_number_after_a_restart_is_in_a_hole(seed: int) -> None:
    """Counts of random lengths, with random frames left out; each count begins well below the end of the one before."""
    chance = random.Random(seed)
    sent, missing, restarts = list[int](), set[tuple[int, int]](), 0
    for count in range(5):
        numbers = list(range(1, chance.randint(300, 600)))
        left_out = set(chance.sample(numbers[2:-1], 5))
        sent += [number for number in numbers if number not in left_out]
        missing |= {(count, number) for number in left_out}
        restarts += count > 0
    found, seen, count = read_numbers(sent), set[tuple[int, int]](), 0
    for kind, first, last in found:
        count += kind == "restart"
        seen |= {(count, number) for number in range(first, last + 1) if kind == "hole"}
    assert count == restarts
    assert seen == missing


def venue_number(value: bytes) -> tuple[str, int] | None:
    channel, _, number = value.partition(b" ")
    return (channel.decode(), int(number)) if number else None


@asynccontextmanager
async def run_numbered(refilled: list[tuple[str, int, int]]) -> AsyncIterator[tuple[Exchange, RunningListener]]:
    async def refill(channel: str, first: int, last: int) -> list[bytes]:
        refilled.append((channel, first, last))
        return [b"%b %d" % (channel.encode(), number) for number in range(first, last + 1)]

    source = stream(venue_number=venue_number, refill=refill)
    quiet = Script(rate=0.001, ping_seconds=3600)
    async with run_exchange(quiet) as exchange, run_listener(exchange.address, source) as running:
        await running.until(lambda: running.state.state == "connected")
        yield exchange, running


async def test_a_venue_that_counts_anew_on_an_open_connection_is_one_gap_and_later_holes_are_seen() -> None:
    refilled = list[tuple[str, int, int]]()
    async with run_numbered(refilled) as (exchange, running):
        for number in (1_000, 1_001, 1_005, 1, 2, 3, 6, 7):
            await exchange.send(b"prices %d" % number)
        await exchange.send(b"other 8")
        await running.until(lambda: len(running.feeds.gaps) == 3)
        gaps = {gap.cause: gap for gap in running.feeds.gaps if not gap.repaired_by}
        assert gaps["sequence restart"].detail == "the venue counts anew from 1, after 1005"
        assert gaps["sequence restart"].symbol == "prices"
        assert gaps["sequence restart"].since < gaps["sequence restart"].until
        assert gaps["sequence hole"].detail == "numbers 1002 to 1004"  # these numbers mean other frames now
        (repaired,) = [gap for gap in running.feeds.gaps if gap.repaired_by]
        assert (repaired.detail, refilled) == ("numbers 4 to 5", [("prices", 4, 5)])
        assert (exchange.connections, running.state.state) == (1, "connected")
