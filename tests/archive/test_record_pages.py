"""Pages over records whose old months have left: old ones are found, new ones without a look at the bucket."""

from __future__ import annotations

import html
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from spotlightd.clients.documents.folder import FolderDocuments
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.datasets.trades import trades
from spotlightd.flows.loads.mirror import mirror_records
from spotlightd.settings.serving import WebSettings
from spotlightd.sources import sec_ftd
from spotlightd.sql.visibility import Snapshot
from spotlightd.web.app import build_application, serve
from spotlightd.web.state import DaemonState, EngineState, ExplorerContext
from spotlightd.web.symbol import minutes
from tests.web.world import excerpts

from .archive_world import ArchiveWorld, archive_world
from .test_records import LONG_AGO, insert_records, left

LATELY = datetime(2026, 3, 10, tzinfo=UTC)
OLD, NEW = "a" * 64, "b" * 64
REASONS = {LONG_AGO: "an old sentence", LATELY: "a new sentence"}


@dataclass
class Explorer:
    world: ArchiveWorld
    address: str
    session: aiohttp.ClientSession

    async def get(self, path: str) -> tuple[int, str]:
        async with self.session.get(self.address + path) as answer:
            return answer.status, await answer.text()

    def hide(self) -> None:
        """The bucket is away."""
        shutil.move(self.world.folder / "bucket", self.world.folder / "away")


async def _recorded(world: ArchiveWorld) -> None:
    """An old and a new document that were refused, each with a line, and a gap in each month."""
    documents, tried, lines, gaps = [], [], [], []
    for digest, at in ((OLD, LONG_AGO), (NEW, LATELY)):
        reason = REASONS[at]
        documents.append((digest, 9, "sec_ftd", "https://www.sec.gov/x.zip", "", "2024", at, "", "", ""))
        tried.append((at, "sec_ftd", "https://www.sec.gov/x.zip", "2024", "refused", digest, 0, 1, 9, 0.5, reason))
        lines.append((at, "sec_ftd", digest, "1", 0, 3, "?", reason))
        gaps.append((at, "constructed_feed", "AAPL", at - timedelta(hours=1), at, "disconnected", reason, ""))
    for table, some in (("documents", documents), ("runs", tried), ("rejects", lines), ("gaps", gaps)):
        await insert_records(world.ledger, table, some)
    await mirror_records(world.ledger, world.warehouse, world.index)


@pytest.fixture
async def explorer(tmp_path: Path) -> AsyncIterator[Explorer]:
    async with archive_world(tmp_path) as world, FolderDocuments(tmp_path / "documents") as documents:
        await _recorded(world)
        await left(world)
        assert {partition.dataset for partition in await world.archive_ledger.partitions()} == {
            "trades",
            "runs",
            "rejects",
            "gaps",
        }
        context = ExplorerContext(
            world.warehouse, documents, (trades, *SYSTEM_DATASETS), (sec_ftd.source,), WebSettings(),
            lambda: DaemonState("0", LONG_AGO, EngineState("none"), ()), excerpts(documents), archives=world.index,
        )  # fmt: skip
        async with serve(build_application(context), "127.0.0.1", 0) as port, aiohttp.ClientSession() as session:
            yield Explorer(world, f"http://127.0.0.1:{port}", session)


async def test_a_document_page_lists_archived_attempts_too(explorer: Explorer) -> None:
    for digest, at in ((OLD, LONG_AGO), (NEW, LATELY)):
        status, page = await explorer.get(f"/source/{digest}")
        assert status == 200
        assert f"<strong>Refused.</strong> {REASONS[at]}" in page
        assert f"<td>{REASONS[at]}</td>" in page  # the line that was rejected
        assert page.count("2024-11-10" if at == LONG_AGO else "2026-03-10") >= 2


async def test_tables_have_old_and_new_records_once(explorer: Explorer) -> None:
    for name in ("runs", "rejects", "gaps"):
        status, text = await explorer.get(f"/data/{name}.csv")
        assert status == 200
        assert sorted(line.split(",")[0].strip('"') for line in text.splitlines()[1:]) == ["1", "2"], text
        assert (await explorer.get(f"/data/{name}/1"))[0] == 200


async def test_pages_of_new_records_need_no_bucket(explorer: Explorer) -> None:
    explorer.hide()
    for path in ("/", "/status", "/live", f"/source/{NEW}"):
        status, page = await explorer.get(path)
        assert status == 200, path
        assert REASONS[LATELY] in page, path
        assert REASONS[LONG_AGO] not in page, path
    for path in (
        "/data/gaps.csv?until__gte=2026-01-01", "/data/gaps.csv?since__gte=2026-01-01", "/data/runs.csv?at__gte=2026-01-01",
    ):  # fmt: skip
        status, text = await explorer.get(path)
        assert (status, len(text.splitlines())) == (200, 2), path


async def test_missing_old_records_are_always_mentioned(explorer: Explorer) -> None:
    explorer.hide()
    left_out = {
        f"/source/{OLD}": "Rejected lines of 2024-11-10 (1 row); Runs of 2024-11-10 (1 row).",
        "/data/runs": "leaves these rows out: Runs of 2024-11-10 (1 row).",
        "/data/gaps": "leaves these rows out: Gaps of 2024-11-09 (1 row).",
    }  # fmt: skip
    for path in (f"/source/{OLD}", "/data/runs", "/data/gaps"):
        status, page = await explorer.get(path)
        assert status == 200, path
        assert left_out[path] in page
        assert REASONS[LONG_AGO] not in page
    for path in ("/data/gaps.csv", "/data/runs.json", "/data/runs/1"):
        status, page = await explorer.get(path)
        assert status == 503, path
        assert "they are missing from the archive's bucket" in html.unescape(page)


async def _gaps(world: ArchiveWorld, last: datetime) -> list[Any]:
    window = minutes.window_ending("1d", last, is_moved=True)
    query = minutes.gaps_query("AAPL", window, Snapshot(0, archived=world.index.archived))
    return [row[4] for row in (await world.warehouse.rows(query.sql, query.params)).rows]


async def test_a_chart_shades_the_gaps_of_its_time(explorer: Explorer) -> None:
    assert await _gaps(explorer.world, LONG_AGO) == [REASONS[LONG_AGO]]
    assert await _gaps(explorer.world, LATELY) == [REASONS[LATELY]]
    explorer.hide()
    assert await _gaps(explorer.world, LATELY) == [REASONS[LATELY]]
