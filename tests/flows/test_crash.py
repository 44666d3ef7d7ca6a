"""A crash between any two steps of a look leaves nothing torn to be seen and nothing lost; the next start makes it up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spotlightd.datasets.system import SYSTEM_DATASETS

from .world import CrashError, Fuse, World, constructed_counts, source

FIRST = {"2021/a": "2021-01-04,1\n2021-01-05,2\n", "2022/a": "2022-01-04,7\n?odd\n", "2023/a": "!\n"}
THEN = {"2021/a": "2021-01-04,5\n", "2022/a": "2022-01-04,7\n?odd\n", "2023/a": "2023-01-02,3\n"}
SEEN_FIRST = {"2021-01-04": 1, "2021-01-05": 2, "2022-01-04": 7}
SEEN_THEN = {"2021-01-04": 5, "2022-01-04": 7, "2023-01-02": 3}
WHOLE = ({"2021-01-04", "2021-01-05"}, {"2021-01-04"}, set[str]())


async def _crashed(world: World, step: int) -> bool:
    """Whether the look got as far as that step, and died there."""
    fuse = Fuse(step)
    try:
        await world.look(fuse=fuse)
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
async def test_a_crash_at_each_step_of_a_first_look(world: World, tmp_path: Path) -> None:
    step = 1
    while True:
        fresh = await _fresh(world, tmp_path / f"first-{step}")
        fresh.shows(FIRST)
        if not await _crashed(fresh, step):
            break
        seen = await fresh.seen()
        assert set(seen.items()) <= set(SEEN_FIRST.items())
        assert {day for day in seen if day < "2022"} in WHOLE
        await fresh.look()
        assert await fresh.seen() == SEEN_FIRST
        assert await _dead_rows(fresh) == 0
        step += 1
    assert step > 40


@pytest.mark.slow
async def test_a_crash_at_each_step_of_a_correction(world: World, tmp_path: Path) -> None:
    step = 1
    while True:
        fresh = await _fresh(world, tmp_path / f"then-{step}")
        fresh.shows(FIRST)
        await fresh.look()
        before = (await fresh.warehouse.rows("SELECT max(seq) FROM loads")).rows[0][0]
        fresh.shows(THEN)
        if not await _crashed(fresh, step):
            break
        days = {day: count for day, count in (await fresh.seen()).items() if day < "2022"}
        assert days in ({"2021-01-04": 1, "2021-01-05": 2}, {"2021-01-04": 5})
        await fresh.look()
        assert await fresh.seen() == SEEN_THEN
        assert await fresh.seen(seq=before) == SEEN_FIRST
        assert await _dead_rows(fresh) == 0
        step += 1
    assert step > 40


async def _dead_rows(world: World) -> int:
    sql = "SELECT count() FROM constructed_counts WHERE load_id NOT IN (SELECT load_id FROM loads)"
    return int((await world.warehouse.rows(sql)).rows[0][0])


async def test_every_publication_has_a_number_and_a_load_of_its_own_after_many_crashes(world: World) -> None:
    world.shows(FIRST)
    for step in range(3, 200, 7):
        if not await _crashed(world, step):
            break
    await world.look()
    answer = await world.warehouse.rows("SELECT seq, load_id, published_at FROM loads ORDER BY seq")
    seqs, loads, times = (list[Any](column) for column in zip(*answer.rows, strict=True))
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(set(loads)) == len(loads)
    assert times == sorted(set(times))


async def test_a_crash_while_a_new_parser_reloads_everything_shows_the_old_rows_or_the_new(world: World) -> None:
    world.shows({"2021/a": FIRST["2021/a"]})
    await world.look()
    step = 1
    while True:
        try:
            await world.look(source(parser="2"), fuse=Fuse(step))
        except (CrashError, BaseExceptionGroup):
            assert await world.seen() == {"2021-01-04": 1, "2021-01-05": 2}
            step += 1
        else:
            break
    assert step > 10
    assert await world.seen() == {"2021-01-04": 1, "2021-01-05": 2}
