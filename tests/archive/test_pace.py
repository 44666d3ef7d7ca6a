"""How fast partitions leave: what is dropped in a day, what late rows wait for, and what a full disk may not do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from spotlightd.model.archive import Fingerprint
from spotlightd.model.dataset import Column
from tests.flows.bundle_world import InlineVerifier

from .archive_world import DAYS, ArchiveWorld, archive_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ArchiveWorld]:
    async with archive_world(tmp_path) as archive:
        yield archive


async def through(world: ArchiveWorld) -> None:
    """All that is due leaves, as far as the budget of a day goes."""
    archiver = world.archiver()
    for pause in (0.0, world.policy.grace_seconds, world.policy.rest_seconds):
        world.clock.seconds += pause
        await archiver.round()


async def test_drops_dated_a_year_ahead_by_a_wrong_clock_do_not_count_later(world: ArchiveWorld) -> None:
    year = timedelta(days=365)
    world.policy = replace(world.policy, hot_days={"trades": 1}, drop_bytes_per_day=1)
    world.clock.start += (
        timedelta(days=1) + year
    )  # a day after the last partition: with the right clock all are old too
    await through(world)
    world.clock.start -= year
    assert sorted((await world.stages()).values()) == ["dropped", "switched", "switched"]
    archiver = world.archiver()
    for pause in (0.0, world.policy.rest_seconds):
        world.clock.seconds += pause
        await archiver.round()
    assert sorted((await world.stages()).values()) == ["dropped", "dropped", "switched"]
    assert "drop_bytes_per_day" in (await world.partition("20260319-0")).detail
    assert (await world.read()).rows == 3000


async def test_a_disabled_archive_drops_nothing_on_a_nearly_full_disk_either(world: ArchiveWorld) -> None:
    await world.archiver().round()
    world.policy = replace(world.policy, enabled=False)
    archiver = world.archiver()
    await archiver.round()
    for _ in range(2):
        await archiver.free_disk()
        world.clock.seconds += world.policy.rest_seconds
    assert set((await world.stages()).values()) == {"verified"}
    assert len(await world.hot()) == 3


async def test_late_rows_are_archived_together_once_no_more_arrive(world: ArchiveWorld) -> None:
    """The engine's clock says how long it was quiet: it wrote them just now, whatever the clock of this world says."""
    world.policy = replace(world.policy, late_seconds=3600.0)
    archiver = world.archiver()
    await archiver.round()
    for number in range(1000, 1006):
        await world.insert(DAYS[0], [number])
        await archiver.round()
    assert await world.stages() == {"20260301-0": "verified", "20260302-0": "verified"}
    assert (await world.hot())["20260301-1"] == 6
    world.policy = replace(world.policy, late_seconds=0.0)
    await world.archiver().round()
    assert (await world.partition("20260301-1")).fingerprint.rows == 6
    assert (await world.read()).rows == 3006


@dataclass
class NotedVerifier(InlineVerifier):
    """Notes when what reads files is kept, and when it reads one."""

    notes: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def keep(self) -> AsyncIterator[None]:
        self.notes.append("keep")
        yield
        self.notes.append("end")

    async def fingerprint(self, path: Path, columns: Sequence[Column], time: str) -> Fingerprint:
        self.notes.append("read")
        return await super().fingerprint(path, columns, time)


async def test_what_reads_the_copies_is_kept_for_a_round(world: ArchiveWorld) -> None:
    world.verifier = verifier = NotedVerifier()
    await world.archiver().round()
    assert set((await world.stages()).values()) == {"verified"}
    assert verifier.notes == ["keep", "read", "read", "end"]
