"""A crash between any two steps of an ingest tears and loses nothing; the next start completes the work."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from spotlightd.datasets.system import SYSTEM_DATASETS

from .world import CrashError, Fuse, World, constructed_counts, crash_steps, source

# The first document is loaded alone and the others as a group: `b` is refused in it, `c` has a key of `d`.
SMALL = {
    "2020/a": "2020-01-02,1\n",
    "2020/b": "2020-01-03,2\n!\n",
    "2020/c": "2020-01-05,3\n",
    "2020/d": "2020-01-05,4\n",
}
FIRST = {"2021/a": "2021-01-04,1\n2021-01-05,2\n", "2022/a": "2022-01-04,7\n?odd\n", "2023/a": "!\n", **SMALL}
THEN = {
    "2021/a": "2021-01-04,5\n", "2022/a": "2022-01-04,7\n?odd\n", "2023/a": "2023-01-02,3\n", **SMALL,
    "2020/d": "2020-01-06,4\n",
}  # fmt: skip
SMALL_FIRST = {"2020-01-02": 1, "2020-01-05": 4}
SMALL_THEN = {"2020-01-02": 1, "2020-01-06": 4}
COUNTS_FIRST = {"2021-01-04": 1, "2021-01-05": 2, "2022-01-04": 7, **SMALL_FIRST}
COUNTS_THEN = {"2021-01-04": 5, "2022-01-04": 7, "2023-01-02": 3, **SMALL_THEN, "2020-01-05": 3}
REFUSED_FIRST = {"2023/a", "2020/b", "2020/c"}
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
        assert {day for day in counts if "2021" <= day < "2022"} in WHOLE
        await _check_outcomes(fresh, REFUSED_FIRST)
        await fresh.ingest()
        assert await fresh.read_counts() == COUNTS_FIRST
        await _check_outcomes(fresh, REFUSED_FIRST, of_all=FIRST)
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
        counts = await fresh.read_counts()
        days = {day: count for day, count in counts.items() if "2021" <= day < "2022"}
        assert days in ({"2021-01-04": 1, "2021-01-05": 2}, {"2021-01-04": 5})
        small = {day: count for day, count in counts.items() if day < "2021"}
        assert small in (SMALL_FIRST, SMALL_THEN, SMALL_THEN | {"2020-01-05": 3})
        await fresh.ingest()
        assert await fresh.read_counts() == COUNTS_THEN
        assert await fresh.read_counts(seq=before) == COUNTS_FIRST
        assert await _dead_rows(fresh) == 0
    assert step > 40


async def _check_outcomes(world: World, refused: set[str], *, of_all: Collection[str] = ()) -> None:
    """Every recorded outcome is the right one. A document whose publication outlived the crash is unchanged after it."""
    runs = {(covers, outcome) for outcome, covers, _ in await world.runs() if covers}
    wrong = {
        (covers, outcome) for covers, outcome in runs if outcome == ("published" if covers in refused else "refused")
    }
    assert wrong == set()
    assert {covers for covers, _ in runs} >= set(of_all)


async def _dead_rows(world: World) -> int:
    """The rows of unpublished loads after the next start, which sweeps them."""
    async with world.stores():
        pass
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
    documents = {"2021/a": FIRST["2021/a"], "2021/b": "2021-01-20,3\n", "2021/c": "2021-01-21,4\n"}
    counts = {"2021-01-04": 1, "2021-01-05": 2, "2021-01-20": 3, "2021-01-21": 4}
    world.serve(documents)
    await world.ingest()
    for step in crash_steps():
        try:
            await world.ingest(source(parser="2"), fuse=Fuse(step))
        except (CrashError, BaseExceptionGroup):
            assert await world.read_counts() == counts
        else:
            break
    assert step > 10
    assert await world.read_counts() == counts
    newest = (await world.warehouse.rows("SELECT max(seq) FROM loads")).rows[0][0]
    for seq in range(3, newest + 1):
        assert await world.read_counts(seq) == counts
