"""While publications follow one another quickly, no page and no file is torn, mixed or empty."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import date, timedelta

import pytest
import pytest_asyncio

from spotlightd.datasets import system
from spotlightd.settings.serving import WebSettings
from tests.web.world import FAILS, STARTED, World, open_world

pytestmark = pytest.mark.asyncio(loop_scope="session")
ROWS = 300
PUBLICATIONS = 25
READERS = 8
PATHS = (
    "/data/sec_ftd.json?symbol=PULSE",
    "/data/sec_ftd.ndjson?symbol=PULSE",
    "/data/sec_ftd.json?symbol=PULSE&_size=1000",
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def alone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A separate instance, because its publications would change the results of other tests."""
    async with open_world(tmp_path_factory.mktemp("pulse")) as world:
        yield world


async def publish(world: World, seq: int) -> None:
    """A load whose rows have the number of the publication as their quantity. It supersedes the load before it."""
    day, load_id = date(2021, 2, 1), 50_000 + seq
    rows = [
        (day + timedelta(days=at), "PULSE0000", "PULSE", seq, "PULSE", None, load_id, 0, at + 2) for at in range(ROWS)
    ]
    await world.warehouse.insert(FAILS, rows)
    superseded = [load_id - 1] if seq > 101 else []
    at = STARTED + timedelta(hours=1, seconds=seq)
    row = (seq, FAILS.name, load_id, "sec_ftd", "2021/02/pulse", f"{seq:064x}", "1", ROWS, 0, superseded, at, 0)
    await world.warehouse.insert(system.loads, [row])


async def test_readers_see_one_publication_at_a_time_and_never_none(alone: World) -> None:
    await publish(alone, 101)
    done = asyncio.Event()
    quantities: list[set[int]] = []

    async def reading(at: int) -> None:
        while not done.is_set():
            path = PATHS[at % len(PATHS)]
            status, text, _ = await alone.get(path)
            assert status == 200, text
            rows = [json.loads(line) for line in text.splitlines()] if "ndjson" in path else json.loads(text)["rows"]
            assert len(rows) == ROWS
            quantities.append({row["quantity"] for row in rows})

    async def publishing() -> None:
        for seq in range(102, 102 + PUBLICATIONS):
            await publish(alone, seq)
        done.set()

    async with asyncio.TaskGroup() as group:
        for at in range(READERS):
            group.create_task(reading(at), name=f"reader {at}")
        group.create_task(publishing(), name="publisher")
    assert all(len(values) == 1 for values in quantities)
    assert len(set.union(*quantities)) > 1


async def test_twenty_heavy_pages_are_answered_while_rows_are_loaded(alone: World) -> None:
    heavy = "/data/sec_ftd?_facet=symbol,cusip,settlement_date&_size=1000&_sort_desc=description"
    loading = asyncio.create_task(_publish_many(alone, range(102 + PUBLICATIONS, 122 + PUBLICATIONS)), name="loading")
    async with alone.served(settings=WebSettings(query_seconds=60.0, wait_seconds=60.0)) as patient:
        answers = await asyncio.gather(*(patient.get(heavy) for _ in range(20)))
    await loading
    assert [status for status, _, _ in answers] == [200] * 20
    assert all(f">{ROWS}</td>" in text for _, text, _ in answers)


async def _publish_many(world: World, numbers: range) -> None:
    for seq in numbers:
        await publish(world, seq)


async def test_a_page_counts_what_it_shows(alone: World) -> None:
    _, text, _ = await alone.get("/data/sec_ftd?symbol=PULSE&_size=1000")
    assert f"<strong>{ROWS}</strong> rows" in text
    assert text.count('class="receipt"><a') == ROWS
