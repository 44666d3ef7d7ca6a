"""A retention that became shorter is told before anything leaves under it, and there is a day to change one's mind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from spotlightd.metrics.registry import PrometheusMetrics
from spotlightd.model.partition import RetentionRule, decide_rule
from spotlightd.web.pages.archive import archive_to_json, summarize

from .archive_world import FEED, ArchiveWorld, archive_world

DAY = 86_400.0
AT = datetime(2026, 3, 20, 12, tzinfo=UTC)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ArchiveWorld]:
    async with archive_world(tmp_path) as archive:
        yield archive


def keep_for(world: ArchiveWorld, days: int) -> None:
    """The settings that the next start reads."""
    world.policy = replace(world.policy, hot_days={"trades": days})


async def shortened(world: ArchiveWorld) -> None:
    """Thirty days were in force, and the settings of this start say ten: two of the three days are older."""
    keep_for(world, 30)
    await world.archiver().round()
    keep_for(world, 10)


async def test_a_shorter_rule_is_told_with_what_would_leave_and_when(world: ArchiveWorld) -> None:
    await shortened(world)
    archiver = world.archiver()
    with capture_logs() as events:
        await archiver.round()
        await archiver.round()
    (alarm,) = archiver.state().shortened
    assert "10 days instead of 30 days" in alarm
    assert "2026-03-21 12:00 UTC" in alarm
    assert "2 partitions leave the warehouse for the bucket, from 2026-03-01 to 2026-03-02" in alarm
    assert [event["detail"] for event in events if event["event"] == "retention shortened"] == [alarm]
    assert alarm in summarize(archiver.state())
    assert archive_to_json(archiver.state())["shortened"] == [alarm]
    assert b"spotlightd_archive_retention_shortened 1.0" in PrometheusMetrics(archive=archiver.state).text()
    assert await world.stages() == {}


async def test_a_day_later_a_shorter_rule_is_in_force(world: ArchiveWorld) -> None:
    await shortened(world)
    await world.archiver().round()
    world.clock.seconds += DAY - 1
    await world.archiver().round()
    assert await world.stages() == {}
    world.clock.seconds += 1
    archiver = world.archiver()
    await archiver.round()
    assert await world.stages() == {"20260301-0": "verified", "20260302-0": "verified"}
    assert archiver.state().shortened == ()


async def test_a_rule_that_is_set_back_within_the_day_leaves_everything_where_it_is(world: ArchiveWorld) -> None:
    await shortened(world)
    await world.archiver().round()
    keep_for(world, 30)
    world.clock.seconds += 2 * DAY
    archiver = world.archiver()
    await archiver.round()
    assert await world.stages() == {}
    assert archiver.state().shortened == ()


@pytest.mark.parametrize("days", [30, 0])
async def test_a_longer_rule_stops_partitions_that_are_under_way(world: ArchiveWorld, days: int) -> None:
    archiver = world.archiver()
    await archiver.round()
    world.clock.seconds += world.policy.grace_seconds
    await archiver.round()
    assert set((await world.stages()).values()) == {"switched"}
    keep_for(world, days)
    archiver = world.archiver()
    await archiver.round()
    world.clock.seconds += world.policy.rest_seconds
    await archiver.round()
    assert set((await world.stages()).values()) == {"switched"}
    assert len(await world.hot()) == 3


async def test_a_nearly_full_disk_drops_verified_copies_whatever_the_rule_says(world: ArchiveWorld) -> None:
    archiver = world.archiver()
    await archiver.round()
    keep_for(world, 30)
    archiver = world.archiver()
    await archiver.round()
    await archiver.free_disk()
    world.clock.seconds += world.policy.rest_seconds
    await archiver.free_disk()
    assert set((await world.stages()).values()) == {"dropped"}


@pytest.mark.parametrize(
    ("known", "configured", "later", "expected"),
    [
        (None, 10, timedelta(), RetentionRule("t", 10, 10)),
        (RetentionRule("t", 30, 30), 60, timedelta(), RetentionRule("t", 60, 60)),
        (RetentionRule("t", 30, 30), 0, timedelta(), RetentionRule("t", 0, 0)),
        (RetentionRule("t", 0, 0), 90, timedelta(), RetentionRule("t", 0, 90, AT)),
        (RetentionRule("t", 30, 10, AT), 10, timedelta(hours=23), RetentionRule("t", 30, 10, AT)),
        (RetentionRule("t", 30, 10, AT), 5, timedelta(hours=23), RetentionRule("t", 30, 5, AT + timedelta(hours=23))),
        (RetentionRule("t", 30, 10, AT), 10, timedelta(hours=24), RetentionRule("t", 10, 10)),
        (
            RetentionRule("t", 30, 10, AT),
            10,
            timedelta(days=-400),
            RetentionRule("t", 30, 10, AT - timedelta(days=400)),
        ),
        (RetentionRule("t", 30, 10, AT), 10, timedelta(days=400), RetentionRule("t", 30, 10, AT + timedelta(days=400))),
    ],
)
def test_only_a_shorter_rule_waits(
    known: RetentionRule | None, configured: int, later: timedelta, expected: RetentionRule
) -> None:
    assert decide_rule(known, "t", configured, AT + later, is_new=True) == expected


@pytest.mark.parametrize("days", [30, 0])
def test_data_without_a_known_rule_were_to_stay_permanently(days: int) -> None:
    waiting = RetentionRule("t", 0, 30, AT) if days else RetentionRule("t", 0, 0)
    assert decide_rule(None, "t", days, AT, is_new=False) == waiting


def test_no_clock_that_jumps_brings_a_shorter_rule_into_force() -> None:
    """1970 after a start without a time server, and back: a day begins again each time."""
    rule = decide_rule(RetentionRule("t", 60, 60), "t", 6, AT, is_new=False)
    for now in (datetime(1970, 1, 1, 0, 1, tzinfo=UTC), AT, AT + timedelta(hours=23)):
        rule = decide_rule(rule, "t", 6, now, is_new=False)
        assert rule.days == 60
    assert decide_rule(rule, "t", 6, AT + timedelta(days=1), is_new=False).days == 6


async def test_the_first_rule_of_a_state_that_was_filled_without_one_waits_for_a_day(world: ArchiveWorld) -> None:
    """The archive was disabled so far, or the ledger is of an older release."""
    await publish_something(world)
    archiver = world.archiver()
    await archiver.round()
    (alarm,) = archiver.state().shortened
    assert "trades: the settings say 10 days instead of permanently" in alarm
    assert await world.stages() == {}
    world.clock.seconds += DAY
    await world.archiver().round()
    assert await world.stages() == {"20260301-0": "verified", "20260302-0": "verified"}


async def test_the_first_rule_of_a_new_state_is_in_force_at_once(world: ArchiveWorld) -> None:
    """It is noted before the first row, so a declared retention needs no day."""
    await world.archiver().note_rules()
    await publish_something(world)
    archiver = world.archiver()
    await archiver.round()
    assert archiver.state().shortened == ()
    assert await world.stages() == {"20260301-0": "verified", "20260302-0": "verified"}


async def publish_something(world: ArchiveWorld) -> None:
    """Afterwards the state is no new one."""
    load = await world.ledger.begin_load(FEED, "", "2026/03/01/1")
    await world.ledger.intend((await world.ledger.mark_loaded(load.load_id, {}, ())).load_id, 1, (), AT)
    await world.ledger.mark_published(load.load_id)
