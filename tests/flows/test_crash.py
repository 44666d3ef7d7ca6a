"""A crash between any two steps of an ingest tears and loses nothing; the next start completes the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spotlightd.datasets.system import SYSTEM_DATASETS

from .world import CrashError, Fuse, World, constructed_counts, crash_steps, source

FIRST = {"2021/a": "2021-01-04,1\n2021-01-05,2\n", "2022/a": "2022-01-04,7\n?odd\n", "2023/a": "!\n"}
THEN = {"2021/a": "2021-01-04,5\n", "2022/a": "2022-01-04,7\n?odd\n", "2023/a": "2023-01-02,3\n"}
COUNTS_FIRST = {"2021-01-04": 1, "2021-01-05": 2, "2022-01-04": 7}
COUNTS_THEN = {"2021-01-04": 5, "2022-01-04": 7, "2023-01-02": 3}
WHOLE = ({"2021-01-04", "2021-01-05"}, {"2021-01-04"}, set[str]())


async def _crash_at(world: World, step: int) -> bool:
    """Whether the ingest reached that step and died there."""
    fuse = Fuse(step)
    try:
        await world.ingest(fuse=fuse)
    except (CrashError, BaseExceptionGroup):
        return fuse.steps >= step
    return False


async def _fresh(world: World, folder: Path) -> World:
    """The same tables, emptied, and a new folder."""
    for dataset in (*SYSTEM_DATASETS, constructed_counts):
        await world.warehouse.execute(f"TRUNCATE TABLE {dataset.name}")
    folder.mkdir()
    return World(folder, world.warehouse)


@pytest.mark.slow
async def test_a_crash_at_each_step_of_a_first_ingest(world: World, tmp_path: Path) -> None:
    for step in crash_steps():
        fresh = await _fresh(world, tmp_path / f"first-{step}")
        fresh.serve(FIRST)
        if not await _crash_at(fresh, step):
            break
        counts = await fresh.read_counts()
        assert set(counts.items()) <= set(COUNTS_FIRST.items())
        assert {day for day in counts if day < "2022"} in WHOLE
        await fresh.ingest()
        assert await fresh.read_counts() == COUNTS_FIRST
        assert await _dead_rows(fresh) == 0
    assert step > 40


@pytest.mark.slow
async def test_a_crash_at_each_step_of_a_correction(world: World, tmp_path: Path) -> None:
    for step in crash_steps():
        fresh = await _fresh(world, tmp_path / f"then-{step}")
        fresh.serve(FIRST)
        await fresh.ingest()
        before = (await fresh.warehouse.rows("SELECT max(seq) FROM loads")).rows[0][0]
        fresh.serve(THEN)
        if not await _crash_at(fresh, step):
            break
        days = {day: count for day, count in (await fresh.read_counts()).items() if day < "2022"}
        assert days in ({"2021-01-04": 1, "2021-01-05": 2}, {"2021-01-04": 5})
        await fresh.ingest()
        assert await fresh.read_counts() == COUNTS_THEN
        assert await fresh.read_counts(seq=before) == COUNTS_FIRST
        assert await _dead_rows(fresh) == 0
    assert step > 40


async def _dead_rows(world: World) -> int:
    sql = "SELECT count() FROM constructed_counts WHERE load_id NOT IN (SELECT load_id FROM loads)"
    return int((await world.warehouse.rows(sql)).rows[0][0])


async def test_every_publication_has_a_number_and_a_load_of_its_own_after_many_crashes(world: World) -> None:
    world.serve(FIRST)
    for step in range(3, 200, 7):
        if not await _crash_at(world, step):
            break
    await world.ingest()
    answer = await world.warehouse.rows("SELECT seq, load_id, published_at FROM loads ORDER BY seq")
    seqs, loads, times = (list[Any](column) for column in zip(*answer.rows, strict=True))
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(set(loads)) == len(loads)
    assert times == sorted(set(times))


async def test_a_crash_while_a_new_parser_reloads_everything_shows_the_old_rows_or_the_new(world: World) -> None:
    world.serve({"2021/a": FIRST["2021/a"]})
    await world.ingest()
    step = 1
    while True:
        try:
            await world.ingest(source(parser="2"), fuse=Fuse(step))
        except (CrashError, BaseExceptionGroup):
            assert await world.read_counts() == {"2021-01-04": 1, "2021-01-05": 2}
            step += 1
        else:
            break
    assert step > 10
    assert await world.read_counts() == {"2021-01-04": 1, "2021-01-05": 2}
