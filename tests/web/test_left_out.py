"""While the archive cannot be read: pages with the rows of the warehouse and a note; everything else is an error."""

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
    archived: ArchivedPartitions


@pytest_asyncio.fixture(loop_scope="session")
async def cut_off(world: World, tmp_path: Path) -> AsyncIterator[World]:
    """The world with a month of fails in a bucket whose object is not there."""
    archived = Archived(FAILS, "20090601-0", ("sec_ftd/gone.parquet",), 1234, BOUNDS)
    async with (
        FolderBucket(tmp_path / "bucket") as bucket,
        world.served(archives=Index(ArchivedPartitions({FAILS.name: (archived,)}, bucket.table))) as served,
    ):
        yield served


@pytest.mark.parametrize("path", ["/s/GME", f"/data/{FAILS.name}", f"/data/{FAILS.name}?symbol=GME"])
async def test_pages_show_unarchived_rows_and_name_the_missing_ones(world: World, cut_off: World, path: str) -> None:
    _, whole, _ = await world.get(path)
    status, text, answer = await cut_off.get(path)
    assert status == 200
    assert f"missing from the archive&#39;s bucket, so this page leaves these rows out: {NOTE}" in text
    assert 'The operator finds more at <a href="/archive">' in text
    assert "No data is lost" not in text
    assert "later" not in text.split('role="alert"')[1].split("</p>")[0]
    assert NOTE not in whole
    assert text.count("<td") == whole.count("<td") > 0
    assert answer.headers["Cache-Control"] == "no-store"
    assert "ETag" not in answer.headers


@pytest.mark.parametrize(
    "path", [f"/data/{FAILS.name}.csv", f"/data/{FAILS.name}.json", f"/data/{FAILS.name}.json?_size=10", "/cite"]
)
async def test_downloads_and_citations_are_complete_or_an_error(cut_off: World, path: str) -> None:
    query = f"?address=/data/{FAILS.name}" if path == "/cite" else ""
    status, text, answer = await cut_off.get(path + query)
    assert status == 503
    assert "they are missing from the archive's bucket" in html.unescape(text)
    assert "No data is lost" not in text
    assert "Retry-After" not in answer.headers


async def test_the_first_page_does_not_read_the_archive(world: World, cut_off: World) -> None:
    _, whole, _ = await world.get("/")
    status, text, _ = await cut_off.get("/")
    assert status == 200
    assert "The archive" not in text
    assert "Since 2009-06-01" in text
    assert "<dd>2021-01-25</dd>" in text
    assert "Since 2021-01-04" in whole
    assert text.count('class="spark"') == whole.count('class="spark"') > 0


async def test_a_partly_archived_newest_slice_is_not_ranked(world: World, cut_off: World) -> None:
    sql = f"SELECT DISTINCT _partition_id FROM {FAILS.name}"
    (partition,) = (await world.warehouse.rows(sql)).rows[0]
    left = Archived(FAILS, partition, ("sec_ftd/left.parquet",), 9, BOUNDS)
    index = Index(ArchivedPartitions({FAILS.name: (left,)}, cut_off.context.archives.archived.table))
    async with cut_off.served(archives=index) as other:
        status, text, _ = await other.get("/")
    assert (status, 'class="spark"' in text) == (200, False)
    assert "Rows of this slice are in" in text
    assert "Since 2009-06-01" in text


async def test_the_first_page_as_of_an_earlier_time_names_the_missing_rows(cut_off: World) -> None:
    status, text, _ = await cut_off.get("/?as_of=2021-03-20T09:02:00Z")
    assert status == 200
    assert NOTE in text


async def test_a_search_finds_unarchived_rows_and_names_the_missing_ones(cut_off: World) -> None:
    status, text, _ = await cut_off.get("/search?q=g")
    assert status == 200
    assert NOTE in text
    status, _, answer = await cut_off.get("/search?q=GME")
    assert (status, answer.headers["Location"]) == (303, "/s/GME")


async def test_a_query_within_hot_days_is_complete(cut_off: World) -> None:
    status, text, answer = await cut_off.get(f"/data/{FAILS.name}?settlement_date__gte=2021-01-01")
    assert status == 200
    assert NOTE not in text
    assert "ETag" in answer.headers


async def test_left_out_rows_are_logged(cut_off: World, log_lines: list[dict[str, str]]) -> None:
    await cut_off.get("/s/GME")
    assert [line["path"] for line in log_lines if line["event"] == "page served without archive"] == ["/s/GME"]
