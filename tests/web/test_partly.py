"""While the archive cannot be reached: pages of what is hot, with a note; everything else says so and gives nothing."""

from __future__ import annotations

import html
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from spotlightd.clients.bucket.folder import FolderBucket
from spotlightd.sql.tiers import Archived, ArchivedPartitions
from tests.web.world import FAILS, World

pytestmark = pytest.mark.asyncio(loop_scope="session")
BOUNDS = {FAILS.time: (datetime(2009, 6, 1, tzinfo=UTC), datetime(2009, 6, 30, tzinfo=UTC))}
NOTE = "SEC fails to deliver of 2009-06-01 to 2009-06-30 (1,234 rows)"


@dataclass(frozen=True)
class Index:
    cold: ArchivedPartitions


@pytest_asyncio.fixture(loop_scope="session")
async def cut_off(world: World, tmp_path: Path) -> AsyncIterator[World]:
    """The world with a month of fails in a bucket whose object is not there."""
    gone = Archived(FAILS, "20090601-0", ("sec_ftd/gone.parquet",), 1234, BOUNDS)
    async with (
        FolderBucket(tmp_path / "bucket") as bucket,
        world.served(archives=Index(ArchivedPartitions({FAILS.name: (gone,)}, bucket.table))) as one,
    ):
        yield one


@pytest.mark.parametrize("path", ["/s/GME", f"/data/{FAILS.name}", f"/data/{FAILS.name}?symbol=GME"])
async def test_pages_show_what_is_hot_and_say_what_is_missing(world: World, cut_off: World, path: str) -> None:
    _, whole, _ = await world.get(path)
    status, text, answer = await cut_off.get(path)
    assert status == 200
    assert f"missing from the archive&#39;s store, and these rows are left out here: {NOTE}" in text
    assert 'The operator finds more at <a href="/archive">' in text
    assert "Nothing is lost" not in text
    assert "later" not in text.split('role="alert"')[1].split("</p>")[0]
    assert NOTE not in whole
    assert text.count("<td") == whole.count("<td") > 0
    assert answer.headers["Cache-Control"] == "no-store"
    assert "ETag" not in answer.headers


@pytest.mark.parametrize(
    "path", [f"/data/{FAILS.name}.csv", f"/data/{FAILS.name}.json", f"/data/{FAILS.name}.json?_size=10", "/cite"]
)
async def test_what_people_compute_with_is_whole_or_an_error(cut_off: World, path: str) -> None:
    query = f"?address=/data/{FAILS.name}" if path == "/cite" else ""
    status, text, answer = await cut_off.get(path + query)
    assert status == 503
    assert "they are missing from the archive's store" in html.unescape(text)
    assert "Nothing is lost" not in text
    assert "Retry-After" not in answer.headers


async def test_the_first_page_does_not_ask_the_archive(world: World, cut_off: World) -> None:
    _, whole, _ = await world.get("/")
    status, text, _ = await cut_off.get("/")
    assert status == 200
    assert "The archive" not in text
    assert "Since 2009-06-01" in text
    assert "<dd>2021-01-25</dd>" in text
    assert "Since 2021-01-04" in whole
    assert text.count('class="spark"') == whole.count('class="spark"') > 0


async def test_a_newest_slice_that_has_left_in_part_is_not_ranked(world: World, cut_off: World) -> None:
    sql = f"SELECT DISTINCT _partition_id FROM {FAILS.name}"
    (partition,) = (await world.warehouse.rows(sql)).rows[0]
    left = Archived(FAILS, partition, ("sec_ftd/left.parquet",), 9, BOUNDS)
    index = Index(ArchivedPartitions({FAILS.name: (left,)}, cut_off.context.archives.cold.table))
    async with cut_off.served(archives=index) as other:
        status, text, _ = await other.get("/")
    assert (status, 'class="spark"' in text) == (200, False)
    assert "Rows of this slice have left for" in text
    assert "Since 2009-06-01" in text


async def test_the_first_page_as_of_an_earlier_time_says_what_is_missing(cut_off: World) -> None:
    status, text, _ = await cut_off.get("/?as_of=2021-03-20T09:02:00Z")
    assert status == 200
    assert NOTE in text


async def test_a_search_finds_what_is_hot_and_says_what_is_missing(cut_off: World) -> None:
    status, text, _ = await cut_off.get("/search?q=g")
    assert status == 200
    assert NOTE in text
    status, _, answer = await cut_off.get("/search?q=GME")
    assert (status, answer.headers["Location"]) == (303, "/s/GME")


async def test_a_question_within_hot_days_is_whole(cut_off: World) -> None:
    status, text, answer = await cut_off.get(f"/data/{FAILS.name}?settlement_date__gte=2021-01-01")
    assert status == 200
    assert NOTE not in text
    assert "ETag" in answer.headers


async def test_it_is_told_in_the_log(cut_off: World, said: list[dict[str, str]]) -> None:
    await cut_off.get("/s/GME")
    assert [one["path"] for one in said if one["event"] == "page shown without archive"] == ["/s/GME"]
