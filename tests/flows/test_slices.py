"""Days and slices: a row counts once, whichever documents hold it and in whichever order they come. All constructed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from spotlightd import Batch, Link, OutsideRows, Pages, SettingsError
from spotlightd.parse import dates, outside
from spotlightd.parse.dates import Period
from tests.flows.world import INDEX, World, constructed_counts, repeating, source, url

FIRST_QUARTER = "2004-03-31,1\n2004-04-01,5\n"
SECOND_QUARTER = "2004-04-01,5\n2004-04-02,6\n"
COUNTS = {"2004-03-31": 1, "2004-04-01": 5, "2004-04-02": 6}
ORDERS = [("2004/q1", "2004/q2"), ("2004/q2", "2004/q1")]
QUARTERS = {"2004/q1": FIRST_QUARTER, "2004/q2": SECOND_QUARTER}


def period_of(covers: str) -> Period:
    """`2004/q1` is a quarter, `2004/01/05` a day, and `2004/01/05/7` the seventh slice of it."""
    year, part, *rest = covers.split("/")
    if part.startswith("q"):
        return dates.quarter(date(int(year), 3 * int(part[1]), 1))
    day = date(int(year), int(part), int(rest[0]))
    return Period(day, day)


async def discover(pages: Pages) -> AsyncIterator[Link]:
    for covers in (await pages.page(INDEX)).split():
        period = period_of(covers)
        yield Link(url(covers), covers, period.first, period.last)


def sliced(rule: OutsideRows, **changes: Any) -> Batch:
    return replace(source(), discover=discover, outside=rule, **changes)


async def read_rejects(world: World) -> list[tuple[int, str, str]]:
    """Line, text and reason of every reject."""
    async with world.stores() as stores:
        return [(row[6], row[7], row[8]) for row in await stores.ledger.history("rejects", 0, 100)]


@pytest.mark.parametrize("order", ORDERS)
async def test_a_day_of_a_neighbouring_slice_is_loaded_only_from_its_owner(
    world: World, order: tuple[str, str]
) -> None:
    """No line may be rejected at this source, and such rows do not count as rejected lines."""
    owner_only = sliced(OutsideRows.OWNER_ONLY, rejects_allowed=0.0)
    world.serve({order[0]: QUARTERS[order[0]]})
    await world.ingest(owner_only)
    world.serve(QUARTERS)
    assert {result.outcome for result in await world.ingest(owner_only)} == {"published", "unchanged"}
    assert await world.read_counts() == COUNTS
    reason = (
        "2004-04-01 is outside 2004-01-01 to 2004-03-31, the days of this document: it is loaded only from the document "
        "that reports its day"
    )
    assert await read_rejects(world) == [(2, "day=2004-04-01, count=5", reason)]


async def test_a_row_of_another_day_can_be_a_rejected_line(world: World) -> None:
    world.serve({"2004/q1": FIRST_QUARTER})
    (result,) = await world.ingest(sliced(OutsideRows.REJECT))
    assert (result.outcome, result.rows, result.rejects) == ("published", 1, 1)
    world.serve({"2004/q1": FIRST_QUARTER + "2004-04-02,1\n"})
    (result,) = await world.ingest(sliced(OutsideRows.REJECT))
    assert result.outcome == "refused"
    assert (
        "2 of 3 lines could not be parsed; constructed allows 50.00%; the first: 2004-04-01 is outside" in result.error
    )


async def test_a_row_of_another_day_can_refuse_the_document(world: World) -> None:
    world.serve({"2004/q1": FIRST_QUARTER})
    (result,) = await world.ingest(sliced(OutsideRows.REFUSE))
    error = "2004-04-01 is outside 2004-01-01 to 2004-03-31, the days of this document (line 2)"
    assert (result.outcome, result.error) == ("refused", error)
    assert await world.read_counts() == {}


@pytest.mark.parametrize("rule", [OutsideRows.REJECT, OutsideRows.OWNER_ONLY])
async def test_a_document_without_a_row_of_its_days_has_the_wrong_name(world: World, rule: OutsideRows) -> None:
    world.serve({"2004/q1": "2004-04-01,5\n2004-04-02,6\n"})
    (result,) = await world.ingest(sliced(rule, rejects_allowed=1.0))
    assert result.outcome == "refused"
    assert "none of the 2 rows is of the days of this document; the first: 2004-04-01 is outside" in result.error


async def test_a_document_with_too_many_rows_of_other_days_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside, "MOST_OUTSIDE", 1)
    world.serve({"2004/q1": FIRST_QUARTER + "2004-04-02,6\n"})
    (result,) = await world.ingest(sliced(OutsideRows.OWNER_ONLY))
    assert result.error.startswith("more than 1 rows are of other days; the first: 2004-04-01 is outside")


def test_every_source_must_choose_and_every_dataset_must_have_days() -> None:
    usual = source()
    fields = {name: getattr(usual, name) for name in usual.__dataclass_fields__ if name != "outside"}
    with pytest.raises(TypeError, match="outside"):
        Batch(**fields)
    timeless = replace(constructed_counts, name="timeless", time="count")
    with pytest.raises(SettingsError, match=r"timeless\.count is a UInt64; the time of documents' rows must be a Date"):
        replace(usual, datasets=(timeless,))


def test_a_link_ends_after_it_begins() -> None:
    with pytest.raises(SettingsError, match="its last day, 2021-01-01, is before its first, 2021-01-02"):
        Link("https://example.org/x", "2021", date(2021, 1, 2), date(2021, 1, 1))


WHOLE_AND_PART = {"2004/01/05": "2004-01-05,9\n", "2004/01/05/7": "2004-01-05,4\n"}


@pytest.mark.parametrize("first", list(WHOLE_AND_PART))
async def test_a_part_and_its_whole_count_once_in_either_order(world: World, first: str) -> None:
    world.serve({first: WHOLE_AND_PART[first]})
    await world.ingest(sliced(OutsideRows.OWNER_ONLY))
    world.serve(WHOLE_AND_PART)
    await world.ingest(sliced(OutsideRows.OWNER_ONLY))
    assert await world.read_counts() == {"2004-01-05": 9}
    outcomes = {result.link.covers: result.outcome for result in await world.ingest(sliced(OutsideRows.OWNER_ONLY))}
    assert outcomes["2004/01/05"] == "unchanged"
    assert outcomes["2004/01/05/7"] == ("covered" if first == "2004/01/05" else "unchanged")
    assert len(world.documents.objects) == 2


async def test_a_part_with_the_bytes_of_its_whole_is_no_misnamed_copy(world: World) -> None:
    world.serve({"2004/01/05": "2004-01-05,9\n"})
    await world.ingest(sliced(OutsideRows.OWNER_ONLY))
    world.serve(dict.fromkeys(WHOLE_AND_PART, "2004-01-05,9\n"))
    outcomes = {result.link.covers: result.outcome for result in await world.ingest(sliced(OutsideRows.OWNER_ONLY))}
    assert outcomes == {"2004/01/05": "unchanged", "2004/01/05/7": "covered"}


OVERLAPPING = {"2021/a": "2021-01-04,1\n2021-01-05,2\n", "2021/b": "2021-01-05,3\n2021-01-06,4\n"}


@pytest.mark.parametrize(("first", "second"), [("2021/a", "2021/b"), ("2021/b", "2021/a")])
async def test_a_key_that_another_visible_document_has_refuses_the_newer_one(
    world: World, first: str, second: str
) -> None:
    world.serve({first: OVERLAPPING[first]})
    await world.ingest()
    before = await world.read_counts()
    world.serve(OVERLAPPING)
    results = {result.link.covers: result for result in await world.ingest()}
    assert results[second].outcome == "refused"
    assert results[second].error == (
        "1 key of constructed_counts would be there twice, such as day 2021-01-05: the document for "
        f"{first} of constructed has it too, and a key may be in one document only"
    )
    assert await world.read_counts() == before
    assert ("refused", second, results[second].error) in await world.runs()


async def test_a_repeated_key_is_loaded_in_the_look_in_which_the_other_document_was_corrected(world: World) -> None:
    world.serve({"2021/a": OVERLAPPING["2021/a"]})
    await world.ingest()
    world.serve(OVERLAPPING | {"2021/a": "2021-01-04,1\n"})
    await world.ingest()
    assert await world.read_counts() == {"2021-01-04": 1, "2021-01-05": 3, "2021-01-06": 4}


async def test_a_day_that_was_counted_twice_counts_once_after_one_look_with_the_next_parser(world: World) -> None:
    """The newer document is tried first, and again when the older one has lost the row that is not its own."""
    world.serve(QUARTERS)
    await world.ingest(replace(repeating(), outside=OutsideRows.OWNER_ONLY))  # these links report a whole year
    assert await world.count_stored() == 4
    results = await world.ingest(sliced(OutsideRows.OWNER_ONLY, parser="2"), again=False)
    assert [result.outcome for result in results] == ["published", "published"]
    assert await world.read_counts() == COUNTS


async def test_a_dataset_may_say_that_its_keys_repeat(world: World) -> None:
    world.serve({"2021/a": "2021-01-04,1\n", "2021/b": "2021-01-04,1\n2021-01-05,2\n"})
    assert {result.outcome for result in await world.ingest(repeating())} == {"published"}
    assert await world.count_stored() == 3


async def discover_quarter_and_supplement(pages: Pages) -> AsyncIterator[Link]:
    """The supplement ends later, so it was tried first."""
    await pages.page(INDEX)
    yield Link(url("2008/q3"), "2008/q3", date(2008, 7, 1), date(2008, 9, 30))
    whole = Link(url("2008/small"), "2008/small", date(2008, 9, 16), date(2009, 6, 30))
    yield replace(whole, is_supplement=True)


async def test_a_supplement_with_a_key_of_a_whole_document_is_the_one_that_is_refused(world: World) -> None:
    batch = replace(source(), discover=discover_quarter_and_supplement)
    world.serve({"2008/q3": "2008-07-01,1\n2008-09-16,5\n", "2008/small": "2008-09-16,7\n2009-01-02,8\n"})
    results = {result.link.covers: result for result in await world.ingest(batch)}
    assert {covers: result.outcome for covers, result in results.items()} == {
        "2008/q3": "published", "2008/small": "refused",
    }  # fmt: skip
    assert "the document for 2008/q3 of constructed has it too" in results["2008/small"].error
    assert await world.read_counts() == {"2008-07-01": 1, "2008-09-16": 5}
    assert ("refused", "2008/small", results["2008/small"].error) in await world.runs()


async def test_of_two_documents_that_end_on_one_day_the_wider_one_is_loaded_first(world: World) -> None:
    async def discover_both(pages: Pages) -> AsyncIterator[Link]:
        await pages.page(INDEX)
        yield Link(url("2021/z"), "2021/z", date(2021, 12, 31), date(2021, 12, 31))
        yield Link(url("2021/a"), "2021/a", date(2021, 1, 1), date(2021, 12, 31))

    world.serve({"2021/a": "2021-01-04,1\n2021-12-31,2\n", "2021/z": "2021-12-31,3\n"})
    outcomes = {
        result.link.covers: result.outcome for result in await world.ingest(replace(source(), discover=discover_both))
    }
    assert outcomes == {"2021/a": "published", "2021/z": "refused"}
