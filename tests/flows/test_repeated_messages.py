"""A message that the files of two days have counts once, whatever came first and whatever is replaced. All constructed: the
count of a row is its key here, and its day is the day of its document.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from spotlightd import Body, OutsideRows, Reject, Rows
from spotlightd.flows.loads.hidden import note_hidden_rows_again
from spotlightd.model.source import Batch
from spotlightd.sql.changes import changed_loads
from spotlightd.sql.tiers import ArchivedPartitions
from spotlightd.sql.visibility import newest_condition, visible_condition

from .test_slices import sliced
from .world import CrashError, Fuse, World, constructed_counts, crash_steps, parse

messages = replace(constructed_counts, key=("count",), repeats_within=3)
MONDAY, TUESDAY = "2021-01-04,1\n2021-01-04,2\n", "2021-01-05,2\n2021-01-05,3\n"
ONCE = [("2021-01-04", 1), ("2021-01-05", 2), ("2021-01-05", 3)]
ORDERS = [("2021/01/04", "2021/01/05"), ("2021/01/05", "2021/01/04")]
DAYS = {"2021/01/04": MONDAY, "2021/01/05": TUESDAY}


def repository() -> Batch:
    def parse_messages(body: Body) -> Iterator[Rows | Reject]:
        for item in parse(body):
            yield replace(item, dataset=messages) if isinstance(item, Rows) else item

    return replace(sliced(OutsideRows.REFUSE), datasets=(messages,), parse=parse_messages)


async def read(world: World, seq: int = 2**63, condition: str = "") -> list[tuple[str, int]]:
    condition = condition or visible_condition(messages)
    sql = f"SELECT toString(day), count FROM constructed_counts WHERE {condition} ORDER BY day, count"
    return [(row[0], row[1]) for row in (await world.warehouse.rows(sql, {"seq": seq})).rows]


async def newest_seq(world: World) -> int:
    return int((await world.warehouse.rows("SELECT max(seq) FROM loads")).rows[0][0])


@pytest.mark.parametrize("order", ORDERS)
async def test_the_row_of_the_last_day_is_read_whichever_document_came_first(
    world: World, order: tuple[str, str]
) -> None:
    world.serve({order[0]: DAYS[order[0]]})
    await world.ingest(repository())
    before = await newest_seq(world)
    world.serve(DAYS)
    assert {result.outcome for result in await world.ingest(repository())} == {"published", "unchanged"}
    assert await read(world) == ONCE
    assert await read(world, condition=newest_condition(messages)) == ONCE
    assert len(await read(world, before)) == 2
    assert await world.count_stored() == 4  # both rows are kept, each with its receipt


async def test_documents_of_one_group_are_compared_too(world: World) -> None:
    world.serve(DAYS)
    assert {result.outcome for result in await world.ingest(repository())} == {"published"}
    assert await read(world) == ONCE


async def test_a_hidden_row_is_visible_again_when_the_other_document_is_replaced_without_it(world: World) -> None:
    world.serve(DAYS)
    await world.ingest(repository())
    before = await newest_seq(world)
    world.serve({**DAYS, "2021/01/05": "2021-01-05,3\n"})
    await world.ingest(repository())
    assert await read(world) == [("2021-01-04", 1), ("2021-01-04", 2), ("2021-01-05", 3)]
    assert await read(world, before) == ONCE
    changed = await world.warehouse.rows(
        f"SELECT DISTINCT covers FROM loads WHERE load_id IN ({changed_loads(messages)})",
        {"since": before, "seq": 2**63},
    )
    assert {row[0] for row in changed.rows} == {"2021/01/04", "2021/01/05"}


async def test_a_slice_a_day_and_a_slice_of_the_next_day_count_a_message_once(world: World) -> None:
    """The last slice of a day has it, the file of that day has not, because the next day has it."""
    documents = {"2021/01/04/9": "2021-01-04,2\n"}
    world.serve(documents)
    await world.ingest(repository())
    assert await read(world) == [("2021-01-04", 2)]
    world.serve(documents | {"2021/01/05/1": "2021-01-05,2\n"})
    await world.ingest(repository())
    assert await read(world) == [("2021-01-05", 2)]
    world.serve(documents | {"2021/01/05/1": "2021-01-05,2\n", "2021/01/04": "2021-01-04,1\n"})
    await world.ingest(repository())
    assert await read(world) == [("2021-01-04", 1), ("2021-01-05", 2)]


async def test_of_one_day_the_newer_document_is_read(world: World) -> None:
    world.serve({"2021/01/04/1": "2021-01-04,1\n", "2021/01/04/2": "2021-01-04,1\n2021-01-04,2\n"})
    await world.ingest(repository())
    assert await read(world) == [("2021-01-04", 1), ("2021-01-04", 2)]


@pytest.mark.parametrize("more", [{}, {"2021/01/08": "2021-01-08,8\n"}])
async def test_a_message_that_a_document_has_twice_counts_once(world: World, more: dict[str, str]) -> None:
    """Alone, and in a group."""
    world.serve({"2021/01/04": "2021-01-04,1\n2021-01-04,1\n2021-01-04,1\n"} | more)
    await world.ingest(repository())
    assert await read(world) == [("2021-01-04", 1), *([("2021-01-08", 8)] if more else [])]


async def test_keys_of_documents_further_apart_are_not_compared(world: World) -> None:
    world.serve({"2021/01/04": "2021-01-04,2\n", "2021/01/09": "2021-01-09,2\n"})
    await world.ingest(repository())
    assert await read(world) == [("2021-01-04", 2), ("2021-01-09", 2)]


async def test_after_a_crash_at_any_step_a_message_counts_once(world: World) -> None:
    for step in crash_steps():
        fuse = Fuse(step)
        try:
            world.serve({"2021/01/04": MONDAY})
            await world.ingest(repository(), fuse=fuse)
            world.serve(DAYS)
            await world.ingest(repository(), fuse=fuse)
        except CrashError:
            pass
        else:
            break
    await world.ingest(repository())
    assert await read(world) == ONCE


async def test_what_was_hidden_at_each_publication_is_noted_again_from_the_loaded_rows(world: World) -> None:
    """In any order of days, of replaced documents too, and of a message that a document has twice."""
    twice = "2021-01-06,3\n2021-01-06,3\n"
    for documents in (
        {"2021/01/05": TUESDAY}, DAYS, DAYS | {"2021/01/06": twice}, {**DAYS, "2021/01/05": "2021-01-05,2\n"},
        DAYS | {"2021/01/06": "2021-01-06,6\n"},
    ):  # fmt: skip
        world.serve(documents)
        await world.ingest(repository())
    noted = "SELECT dataset, load_id, member, line, by_load FROM hidden_rows ORDER BY ALL"
    before = (await world.warehouse.rows(noted)).rows
    readings = [await read(world, seq) for seq in range(1, await newest_seq(world) + 1)]
    assert len(before) > 3
    for rest in ("load_id > 0", "load_id % 2"):  # all is lost, or some
        await world.warehouse.execute(f"DELETE FROM hidden_rows WHERE {rest}")
        assert [await read(world, seq) for seq in range(1, len(readings) + 1)] != readings
        async with world.stores() as stores:
            again = await note_hidden_rows_again(stores.ledger, stores.warehouse, ArchivedPartitions(), [messages])
        assert again == len(before)
        assert (await world.warehouse.rows(noted)).rows == before
        assert [await read(world, seq) for seq in range(1, len(readings) + 1)] == readings
