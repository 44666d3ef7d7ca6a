"""First ingest, daily ingest, correction, refusal and retry run the same code and end in the same rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from spotlightd.clients.bucket.folder import FolderBucket
from spotlightd.errors import PublisherError, StoreError
from spotlightd.flows.batch.ingest import is_due
from spotlightd.model.source import Link
from spotlightd.ports.ledger import KnownAddress
from spotlightd.testing import Reply
from tests.clients.documents_world import WatchedBucket, move_to_bucket, tiered

from .world import INDEX, World, source, url

A = "2021-01-04,1\n2021-01-05,2\n"
B = "2022-01-04,7\n"


async def test_every_document_of_the_publisher_is_published_once(world: World) -> None:
    world.serve({"2021/a": A, "2022/a": B})
    assert [(result.outcome, result.rows) for result in await world.ingest()] == [("published", 1), ("published", 2)]
    assert await world.read_counts() == {"2021-01-04": 1, "2021-01-05": 2, "2022-01-04": 7}


async def test_a_second_ingest_changes_nothing(world: World) -> None:
    world.serve({"2021/a": A})
    await world.ingest()
    assert [result.outcome for result in await world.ingest()] == ["unchanged"]
    assert await world.ingest(again=False) == []
    assert await world.count_stored() == 2


async def test_a_correction_supersedes_and_what_was_known_before_stays_readable(world: World) -> None:
    world.serve({"2021/a": A, "2022/a": B})
    await world.ingest()
    world.serve({"2021/a": "2021-01-04,5\n", "2022/a": B})
    assert [result.outcome for result in await world.ingest()] == ["unchanged", "published"]
    assert await world.read_counts() == {"2021-01-04": 5, "2022-01-04": 7}
    assert await world.read_counts(seq=2) == {"2021-01-04": 1, "2021-01-05": 2, "2022-01-04": 7}


async def test_a_publisher_that_takes_a_correction_back_is_followed(world: World) -> None:
    for text in (A, "2021-01-04,5\n", A):
        world.serve({"2021/a": text})
        assert [result.outcome for result in await world.ingest()] == ["published"]
    assert await world.read_counts() == {"2021-01-04": 1, "2021-01-05": 2}


async def test_two_addresses_of_one_slice_do_not_push_each_other_out(world: World) -> None:
    world.serve({"2021/a": A, "2021/a https://example.org/old/2021-a.csv": "2021-01-04,9\n"})
    await world.ingest()
    before = await world.read_counts()
    assert [result.outcome for result in await world.ingest()] == ["unchanged", "unchanged"]
    assert await world.read_counts() == before


async def test_a_file_that_covers_more_supersedes_its_parts(world: World) -> None:
    world.serve({"2021/a": "2021-01-04,1\n", "2021/b": "2021-01-20,2\n", "2022/a": B})
    await world.ingest()
    world.serve({"2021": "2021-01-04,1\n2021-01-20,3\n"})
    await world.ingest()
    assert await world.read_counts() == {"2021-01-04": 1, "2021-01-20": 3, "2022-01-04": 7}


async def test_a_refused_document_is_stored_and_reported_and_does_not_stop_the_next(world: World) -> None:
    world.serve({"2021/a": A, "2022/a": B + "!\n"})
    refused, published = await world.ingest()
    assert (refused.outcome, published.outcome) == ("refused", "published")
    assert refused.error == "refused as the document asks: ! (line 2)"
    assert await world.read_counts() == {"2021-01-04": 1, "2021-01-05": 2}
    assert len(world.documents.objects) == 2
    assert [result.outcome for result in await world.ingest()] == ["unchanged", "unchanged"]


async def test_a_raised_parser_version_loads_stored_documents_again_without_a_request(world: World) -> None:
    world.serve({"2021/a": A})
    await world.ingest()
    world.publishers.requests.clear()
    assert [result.outcome for result in await world.ingest(source(parser="2"), again=False)] == ["published"]
    assert world.publishers.requests == [INDEX]
    assert await world.read_counts() == {"2021-01-04": 1, "2021-01-05": 2}


async def test_a_new_parser_reads_documents_that_are_in_the_bucket_alone(world: World) -> None:
    """While the bucket is away the ingest fails as with any store, and the visible rows stay."""
    world.serve({"2021/a": A})
    counts = {"2021-01-04": 1, "2021-01-05": 2}
    async with FolderBucket(world.folder / "bucket") as folder:
        bucket = WatchedBucket(folder)
        async with tiered(world.folder, bucket) as documents:
            world.documents = documents
            await world.ingest()
            for digest in [document.digest async for document in documents.folder.local()]:
                await move_to_bucket(documents, bucket, digest)
            world.publishers.requests.clear()
            bucket.is_away = True
            with pytest.raises(StoreError, match="cannot be read from the bucket now"):
                await world.ingest(source(parser="2"), again=False)
            assert await world.read_counts() == counts
            bucket.is_away = False
            assert [result.outcome for result in await world.ingest(source(parser="2"), again=False)] == ["published"]
            assert await world.read_counts() == counts
            assert url("2021/a") not in world.publishers.requests


async def test_the_same_bytes_for_another_slice_are_refused(world: World) -> None:
    world.serve({"2021/a": A, "2021/b": A})
    assert sorted(result.outcome for result in await world.ingest()) == ["published", "refused"]
    assert any("the same bytes as the document for" in error for _, _, error in await world.runs())
    assert await world.read_counts() == {"2021-01-04": 1, "2021-01-05": 2}


async def test_a_document_that_was_taken_for_a_copy_is_loaded_once_the_other_is_put_right(world: World) -> None:
    world.serve({"2021/a": A, "2022/a": A})
    await world.ingest()
    assert await world.read_counts() == {"2021-01-04": 1, "2021-01-05": 2}
    world.serve({"2021/a": A, "2022/a": B})
    await world.ingest()
    await world.ingest()
    assert await world.read_counts() == {"2021-01-04": 1, "2021-01-05": 2, "2022-01-04": 7}


async def test_rejects_of_a_document_that_is_refused_later_on_are_kept(world: World) -> None:
    world.serve({"2021/a": "?odd\n" + A + "!\n"})
    (result,) = await world.ingest()
    assert (result.outcome, result.rejects) == ("refused", 1)
    async with world.stores() as stores:
        assert [row[7] for row in await stores.ledger.history("rejects", 0, 10)] == ["?odd"]


async def test_absent_failed_and_wrong_body_are_three_outcomes_and_leave_the_others_alone(world: World) -> None:
    world.serve({"2021/a": A, "2021/b": "", "2021/c": "x", "2021/d": "x"})
    del world.publishers.replies[url("2021/b")]
    world.publishers.replies[url("2021/c")] = Reply(b"", breaks=PublisherError("down", retry_after_seconds=4000))
    world.publishers.replies[url("2021/d")] = Reply(b"", breaks=PublisherError("a page", outcome="wrong body"))
    outcomes = {result.link.covers: result.outcome for result in await world.ingest()}
    assert outcomes == {"2021/a": "published", "2021/b": "absent", "2021/c": "failed", "2021/d": "wrong body"}
    expected = {"discovered", "published", "absent", "failed", "wrong body"}
    assert {outcome for outcome, _, _ in await world.runs()} == expected
    assert await world.ingest(again=False) == []


async def test_lines_that_are_rejected_are_kept_and_too_many_refuse_the_document(world: World) -> None:
    world.serve({"2021/a": A + "?odd\n", "2022/a": B + "?x\n?y\n?z\n"})
    many, few = await world.ingest()
    assert (few.outcome, few.rejects) == ("published", 1)
    message = "3 of 4 lines could not be parsed; constructed allows 50.00%"
    assert many.error == f"{message}; the first: as the line asks (line 2)"
    async with world.stores() as stores:
        rejects = await stores.ledger.history("rejects", 0, 10)
    assert [(row[6], row[7]) for row in rejects] == [(2, "?x"), (3, "?y"), (4, "?z"), (3, "?odd")]


async def test_a_failing_store_ends_the_ingest_and_the_next_one_completes_it(world: World) -> None:
    world.serve({"2021/a": A})
    world.documents.refuses = StoreError("the disk is full")
    with pytest.raises(StoreError, match="the disk is full"):
        await world.ingest()
    world.documents.refuses = None
    assert [result.outcome for result in await world.ingest(again=False)] == ["published"]
    assert await world.read_counts() == {"2021-01-04": 1, "2021-01-05": 2}


async def test_an_implausible_number_of_rows_refuses_the_document(world: World) -> None:
    world.serve({"2021/a": "".join(f"2021-01-01,{n}\n" for n in range(1001))})
    (result,) = await world.ingest()
    assert result.error == "1001 rows for constructed_counts, where 1 to 1000 are plausible"
    assert await world.read_counts() == {}


NOW = datetime(2026, 1, 10, tzinfo=UTC)
LINK = Link("u", "2021", date(2021, 1, 1), date(2021, 12, 31))


@pytest.mark.parametrize(
    ("first_seen_days", "checked_days", "due"),
    [(0.5, 0.5, False), (1, 1, True), (80, 9, False), (80, 10, True), (800, 99, False), (800, 100, True)],
)
def test_a_document_is_fetched_less_often_as_it_grows_older(
    first_seen_days: float, checked_days: float, due: bool
) -> None:
    known = KnownAddress(
        "u", "2021", "d", first_fetched_at=NOW - timedelta(days=first_seen_days), outcome="published", parser="1",
        checked_at=NOW - timedelta(days=checked_days),
    )  # fmt: skip
    assert is_due(source(), LINK, known, NOW) is due
    assert not is_due(source(), LINK, replace(known, outcome="covered"), NOW)
