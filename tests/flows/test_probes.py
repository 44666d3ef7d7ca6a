"""Computed addresses: absent, archived and failed are told apart; pauses are kept; a long first run goes on where it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from math import inf

import pytest

from spotlightd import Batch, Body, Link, Pages, Reject, Rows
from spotlightd.errors import PublisherError, SettingsError
from spotlightd.flows.batch.fetch import begin_attempt, mark_failed
from spotlightd.flows.batch.forecast import Forecast, add_forecast, format_duration
from spotlightd.flows.batch.ingest import IngestRange, ingest, is_due
from spotlightd.flows.batch.laps import Course, Lap
from spotlightd.flows.batch.schedule import Collector, Wakeups
from spotlightd.flows.supervise import Board
from spotlightd.ports.ledger import KnownAddress
from spotlightd.testing import Reply
from tests.manual_clock import ManualClock
from tests.polling import until

from .world import CrashError, Fuse, World, constructed_counts, parse, source

NEWEST = date(2021, 3, 1)
ABSENT = PublisherError("there is no such list", outcome="absent", status=404)
ARCHIVED = PublisherError("it is in an archive", outcome="archived", status=403)


def day_url(day: date) -> str:
    return f"https://example.org/{day}.csv"


def link(day: date) -> Link:
    return Link(day_url(day), f"{day:%Y/%m/%d}", day, day, is_probe=True)


def daily(days: int, newest: Callable[[], date] = lambda: NEWEST) -> Batch:
    """A source with a document for each day, as far as it exists: nobody lists them."""

    async def discover(_: Pages) -> AsyncIterator[Link]:
        for number in range(days):
            yield link(newest() - timedelta(days=number))

    dataset = replace(constructed_counts, rhythm=replace(constructed_counts.rhythm, rows=(0, 1000)))

    def parse_day(body: Body) -> Iterator[Rows | Reject]:
        for item in parse(body):
            yield replace(item, dataset=dataset) if isinstance(item, Rows) else item

    return replace(source(), discover=discover, datasets=(dataset,), parse=parse_day)


def serve(world: World, *days: date) -> None:
    for day in days:
        world.publishers.replies[day_url(day)] = Reply(f"{day},1\n".encode())


def day(number: int) -> date:
    """The day so many days before the newest."""
    return NEWEST - timedelta(days=number)


async def test_a_probe_that_finds_nothing_is_no_failure(world: World) -> None:
    serve(world, day(0))
    world.publishers.replies[day_url(day(2))] = Reply(breaks=ARCHIVED)
    world.publishers.replies[day_url(day(3))] = Reply(breaks=PublisherError("down"))
    results = await world.ingest(daily(4))
    assert [(result.outcome, bool(result.error)) for result in results] == [
        ("published", False), ("absent", False), ("archived", False), ("failed", True),
    ]  # fmt: skip
    recorded = {covers: (outcome, error) for outcome, covers, error in await world.runs() if covers}
    assert recorded["2021/02/28"][0] == "absent"
    assert recorded["2021/02/27"] == ("archived", "it is in an archive")


async def test_an_archived_document_is_requested_again_only_by_a_backfill(world: World) -> None:
    world.publishers.replies[day_url(day(0))] = Reply(breaks=ARCHIVED)
    await world.ingest(daily(1), again=False)
    assert await world.ingest(daily(1), again=False) == []
    assert [result.outcome for result in await world.ingest(daily(1), again=True)] == ["archived"]


def ask_until(link: Link, began: datetime, problem: PublisherError, days: int) -> list[datetime]:
    """When an address is requested that always gives this answer, by a source that looks every hour for so many days."""
    known: KnownAddress | None = None
    asked = []
    for hour in range(days * 24):
        now = began + timedelta(hours=hour)
        if is_due(source(), link, known, now):
            asked.append(now)
            known = mark_failed(begin_attempt(link, known), problem, now)
    return asked


def test_an_absent_document_is_requested_with_growing_pauses_for_two_weeks() -> None:
    began = datetime(2021, 3, 2, tzinfo=UTC)
    asked = ask_until(link(NEWEST), began, ABSENT, days=60)
    pauses = [(later - earlier) / timedelta(hours=1) for earlier, later in pairwise(asked)]
    assert pauses == sorted(pauses)
    assert pauses[0] == 1
    assert pauses[-1] == 24
    assert timedelta(days=13) < asked[-1] - began < timedelta(days=15)
    assert len(asked) < 25


def test_an_old_document_that_is_absent_is_requested_twice() -> None:
    """So the first run over fifteen years does not come back to each weekday without a list again and again."""
    assert len(ask_until(link(date(2009, 1, 2)), datetime(2021, 3, 2, tzinfo=UTC), ABSENT, days=60)) == 2


def test_a_document_that_is_listed_and_absent_is_requested_for_ever() -> None:
    listed = replace(link(date(2009, 1, 2)), is_probe=False)
    assert len(ask_until(listed, datetime(2021, 3, 2, tzinfo=UTC), ABSENT, days=60)) > 50


@pytest.mark.parametrize(("years", "days"), [(0, 1), (1, 45), (15, 684)])
def test_a_probe_that_was_found_is_refreshed_by_the_age_of_its_days(years: int, days: int) -> None:
    """All documents of fifteen years were first fetched yesterday: they are not fetched again tomorrow."""
    now = datetime(2021, 3, 2, tzinfo=UTC)
    old = link(now.date() - timedelta(days=365 * years))
    known = KnownAddress(
        old.url, old.covers, "d", first_fetched_at=now, checked_at=now, outcome="published", parser="1"
    )
    assert not is_due(source(), old, known, now + timedelta(days=days - 1))
    assert is_due(source(), old, known, now + timedelta(days=days + days // 5))


async def test_days_without_rows_may_have_the_same_bytes(world: World) -> None:
    """Each is published for its own day, and stays so: a list without entries is not a list that is missing."""
    for number in range(3):
        world.publishers.replies[day_url(day(number))] = Reply(b"")
    assert [result.outcome for result in await world.ingest(daily(3))] == ["published"] * 3
    assert [result.outcome for result in await world.ingest(daily(3))] == ["unchanged"] * 3
    async with world.stores() as stores:
        assert len(await stores.ledger.visible_loads("constructed")) == 3


async def test_a_new_parser_reads_each_of_them_under_its_own_name(world: World) -> None:
    names = []
    empty = daily(2)

    def parse_named(body: Body) -> Iterator[Rows | Reject]:
        names.append(body.name)
        return empty.parse(body)

    for number in range(2):
        world.publishers.replies[day_url(day(number))] = Reply(b"")
    await world.ingest(empty)
    await world.ingest(replace(empty, parser="2", parse=parse_named), again=False)
    assert names == ["2021-03-01.csv", "2021-02-28.csv"]


async def test_a_pause_that_the_publisher_requests_is_kept_and_nothing_fails(world: World) -> None:
    """The publisher wants an hour after the second request. The rest waits for it, in order, without another request."""
    clock = world.clock
    serve(world, day(0), day(2))
    served = Reply(f"{day(1)},1\n".encode())
    sentences: list[str] = []

    async def checkpoint(step: str, _done: int, _total: int) -> None:
        sentences.append(step)
        if "pause" in step:
            world.publishers.replies[day_url(day(1))] = served

    world.publishers.replies[day_url(day(1))] = Reply(breaks=PublisherError("429", retry_after_seconds=3600))
    async with world.stores() as stores:
        publisher = world.publishers.for_source(daily(3))
        results = await ingest(daily(3), publisher, stores, checkpoint=checkpoint)
    assert [result.outcome for result in results] == ["published"] * 3
    assert sum(clock.pauses) == 3600
    assert max(clock.pauses) <= 60  # it beats meanwhile
    assert "2021/02/28: the publisher requests a pause until 2021-03-01 01:00 UTC" in sentences
    assert world.publishers.requests == [day_url(day(number)) for number in (0, 1, 1, 2)]
    assert {outcome for outcome, _, _ in await world.runs()} == {"discovered", "published"}


async def test_a_publisher_that_requests_pauses_without_end_fails_the_document(world: World) -> None:
    world.publishers.replies[day_url(day(0))] = Reply(breaks=PublisherError("429", retry_after_seconds=3600))
    (result,) = await world.ingest(daily(1))
    assert (result.outcome, sum(world.clock.pauses)) == ("failed", 3 * 3600)


async def test_what_is_new_goes_before_the_rest_of_a_first_run(world: World) -> None:
    """A pass ends after its time; the next one begins with what was published meanwhile."""
    clock, newest = world.clock, [day(1)]
    serve(world, *(day(number) for number in range(5)))

    async def checkpoint(_step: str, _done: int, _total: int) -> None:
        clock.seconds += 10

    batch = daily(4, lambda: newest[0])
    async with world.stores() as stores:
        publisher = world.publishers.for_source(batch)
        lap = Lap(ends_at=clock.seconds + 35)
        first = await ingest(batch, publisher, stores, checkpoint=checkpoint, lap=lap)
        assert lap.was_cut
        newest[0] = day(0)
        await ingest(batch, publisher, stores, lap=Lap())
    fetched = [url for url in world.publishers.requests if url.endswith(".csv")]
    assert 0 < len(first) < 4
    assert fetched[: len(first) + 1] == [
        *(day_url(day(number)) for number in range(1, len(first) + 1)),
        day_url(day(0)),
    ]
    assert len(fetched) == len(set(fetched))


async def test_the_collector_goes_on_until_nothing_is_left(world: World) -> None:
    """Laps of no time at all: each fetches one document, and the flow wakes itself."""
    serve(world, *(day(number) for number in range(3)))
    board, wakeups, batch = Board(), Wakeups(), daily(3)
    async with world.stores() as stores:
        collector = Collector(batch, world.publishers, stores, wakeups, lap_seconds=0)
        wakeups.of(batch.name).set()
        task = asyncio.create_task(collector(board.reporter("collect")), name="collect")
        try:
            await until(lambda: len(world.publishers.requests) == 3, "all are fetched")
            await until(lambda: board.read()[0].state == "waiting", "it waits")
        finally:
            task.cancel()
            await asyncio.wait([task])
    assert len(await world.read_counts()) == 3


async def test_a_publisher_that_shuts_us_out_is_left_in_peace(world: World) -> None:
    """After ten failures in a row the other documents wait, without a failure for each; after the pause they are fetched."""
    for number in range(40):
        world.publishers.replies[day_url(day(number))] = Reply(breaks=PublisherError("a page", outcome="wrong body"))
    board, wakeups, batch = Board(), Wakeups(), daily(40)
    async with world.stores() as stores:
        wakeups.of(batch.name).set()
        collector = Collector(batch, world.publishers, stores, wakeups)
        task = asyncio.create_task(collector(board.reporter("collect")), name="collect")
        try:
            await until(lambda: board.read()[0].state == "waiting", "it waits")
            assert board.read()[0].message.startswith(
                "10 documents in a row could not be fetched: the others wait until"
            )
            assert len(world.publishers.requests) == 10
            serve(world, *(day(number) for number in range(40)))
            world.clock.seconds += 600
            await until(lambda: len(world.publishers.requests) == 40, "the others are fetched")
            await until(lambda: board.read()[0].message == "waiting for the next check", "it waits for the next check")
        finally:
            task.cancel()
            await asyncio.wait([task])
    assert len(await world.read_counts()) == 30


def test_the_pause_after_a_lap_that_stalled_grows_and_is_short_again_after_one_that_did_not() -> None:
    clock = ManualClock(chance=0.0)
    course = Course(Forecast(source(), clock.to_clock()), clock.to_clock())
    pauses = []
    for failures in (10, 10, 10, 10, 10, 10, 10, 0, 10):
        lap = course.begin_lap(seconds=900)
        lap.failures = failures
        course.end_lap(lap)
        pauses.append(course.resumes_at - clock.seconds)
    assert pauses == [600, 1_200, 2_400, 4_800, 9_600, 19_200, 21_600, inf, 600]


def test_what_is_not_there_is_no_failure_of_the_publisher() -> None:
    lap = Lap(most_failures=3)
    for is_failure in (True, True, False, True, True):
        lap.count(is_failure=is_failure)
    assert not lap.is_over(now=0)
    lap.count(is_failure=True)
    assert lap.is_over(now=0)
    assert not lap.was_cut


async def test_a_first_run_over_a_thousand_days_goes_on_after_a_kill(world: World) -> None:
    """Every seventh day has a document. The process is killed in the middle: what was known then is not requested again,
    except what was in work, and every document is there once.
    """
    batch = daily(1000)
    there = [day(number) for number in range(0, 1000, 7)]
    serve(world, *there)
    fuse = Fuse(crash_step=600)
    with pytest.raises((CrashError, BaseExceptionGroup)):
        await world.ingest(batch, fuse=fuse, again=False)
    before = list(world.publishers.requests)
    assert 100 < len(before) < 900
    assert before == [day_url(day(number)) for number in range(len(before))], "the newest first"
    await world.ingest(batch, again=False)
    repeated = len(world.publishers.requests) - 1000
    assert 0 <= repeated <= 1, "one was in work when the process was killed"
    assert {*world.publishers.requests} == {day_url(day(number)) for number in range(1000)}
    assert await world.read_counts() == {f"{known}": 1 for known in there}


def test_the_range_of_a_backfill_requests_what_was_given_up() -> None:
    known = KnownAddress("u", "2021", first_fetched_at=datetime(2021, 1, 1, tzinfo=UTC), outcome="absent", failures=2)
    known = replace(known, checked_at=datetime(2021, 1, 2, tzinfo=UTC))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert not is_due(source(), link(NEWEST), known, now)
    assert is_due(source(), link(NEWEST), known, now, IngestRange(again=True))


def test_a_body_that_is_no_json_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"is not JSON; write it with json\.dumps"):
        Link("https://example.org/x", "2021", NEWEST, NEWEST, post="{")


def test_a_page_can_only_be_told_from_a_document_whose_start_is_known() -> None:
    with pytest.raises(SettingsError, match="page_is_absent needs begins_with"):
        replace(source(), page_is_absent=True)


def test_the_forecast_is_the_slower_of_what_was_done_and_what_is_allowed() -> None:
    """The source may be requested twice a second, and has done ten documents in a minute."""
    clock = ManualClock()
    forecast = Forecast(source(), clock.to_clock())
    forecast.note(0, 1000)
    assert forecast.sentence == ""
    clock.seconds = 60
    forecast.note(10, 1000)
    assert forecast.seconds_left == 990 * 6
    assert forecast.sentence == ", about 1 h 39 min left"
    assert forecast.ends_at == clock.at + timedelta(seconds=990 * 6)
    forecast.note(500, 1000)  # stored copies that are only parsed again: faster than the publisher may be requested
    assert forecast.seconds_left == 500 / 2
    forecast.note(1000, 1000)
    assert forecast.seconds_left is None


def test_the_forecast_goes_on_over_laps_and_forgets_what_is_older_than_an_hour() -> None:
    clock = ManualClock()
    forecast = Forecast(source(), clock.to_clock())
    forecast.note(0, 10_000)
    for minute in range(1, 121):
        clock.seconds = minute * 60
        done = (100 if minute <= 60 else 10) * ((minute - 1) % 15 + 1)
        forecast.note(0 if minute % 15 == 1 else done, 10_000)
    assert forecast.seconds_left is not None
    measured = 3600 * (10_000 - 150) / forecast.seconds_left
    assert 550 < measured < 750, "and not 6,000, as in the first hour"


def test_a_command_shows_the_forecast_behind_each_step() -> None:
    clock, steps = ManualClock(), list[str]()
    progress = add_forecast(lambda step, _done, _total: steps.append(step), Forecast(source(), clock.to_clock()))
    progress("2026/11/27", 0, 100)
    clock.seconds = 60
    progress("2026/11/26", 10, 100)
    assert steps == ["2026/11/27", "2026/11/26, about 9 min left"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "1 min"), (3_599, "1 h 0 min"), (15_600, "4 h 20 min"), (90_000, "1 day 1 h"), (273_600, "3 days 4 h")],
)
def test_a_duration_has_two_units_at_most(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
