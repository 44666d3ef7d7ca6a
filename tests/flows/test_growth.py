"""One more document costs the ledger the same however many loads, documents and addresses its source has.

Counted are the steps of SQLite's virtual machine, which are the same on a busy machine and on an idle one.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.clients.watched_ledger import WatchedLedger, reads_all

from . import world as worlds
from .world import World

SHORT, LONG = 20, 4_000
LOAD_COLUMNS = (
    "load_id, source, digest, parser, covers, state, datasets, rows, seq, supersedes, superseded_by, published_at"
)
NEWEST = (
    "SELECT seq FROM loads INDEXED BY loads_by_seq WHERE 1 ORDER BY seq DESC LIMIT 1"  # one step from the index's end
)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> type[WatchedLedger]:
    monkeypatch.setattr(worlds, "SqliteLedger", WatchedLedger)
    monkeypatch.setattr(WatchedLedger, "plans", {})
    monkeypatch.setattr(WatchedLedger, "steps", 0)
    return WatchedLedger


def add_history(ledger: Path, loads: int) -> None:
    """As many published loads of the source, each with its document, address and run; every tenth replaced another."""
    numbers = "WITH RECURSIVE numbers (n) AS (SELECT 10 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)"
    document = "printf('%064x', n), n, 'constructed', 'https://example.org/' || n, '', '1800/' || n"
    load = (
        "{numbers} SELECT n, 'constructed', printf('%064x', n), '1', '1800/' || (n - (n % 10 = 0)), 'published',"
        " '[\"constructed_counts\"]', '{{\"constructed_counts\": 1}}', n,"
        " iif(n % 10 = 0, json_array(n - 1), '[]'), iif(n % 10 = 9, n + 1, 0), n FROM numbers"
    )
    address = "'https://example.org/' || n, '1800/' || n, printf('%064x', n), '', '', 0, 0, 'published', '1', 0, NULL"
    inserts = (
        f"INSERT INTO loads ({LOAD_COLUMNS}) {load}",
        "INSERT INTO documents {numbers} SELECT NULL, {document}, 0, '', '', '' FROM numbers",
        f"INSERT INTO known {{numbers}} SELECT 'constructed', {address} FROM numbers",
        "INSERT INTO runs {numbers} SELECT NULL, 0, 'constructed', '', '', 'published', '', 1, 0, 1, 0.1, '' FROM numbers",
    )
    with closing(sqlite3.connect(ledger)) as db, db:
        for insert in inserts:
            db.execute(insert.format(numbers=numbers, document=document), (loads,))


async def count_steps(world: World, watched: type[WatchedLedger], loads: int) -> int:
    """The steps of a start, a look and four documents: a new one, one again, a new version, and a part of a whole."""
    async with world.stores():
        pass
    add_history(world.folder / "ledger.sqlite", loads)
    world.serve({"2021/a": "2021-01-04,1\n", "2022": "2022-01-04,1\n"})
    await world.ingest()
    before = watched.steps
    world.serve(
        {"2021/a": "2021-01-04,2\n", "2022": "2022-01-04,1\n", "2022/a": "2022-01-05,1\n", "2023": "2023-01-04,1\n"}
    )
    outcomes = [result.outcome for result in await world.ingest()]
    assert sorted(outcomes) == ["covered", "published", "published", "unchanged"]
    return watched.steps - before


async def test_the_ledger_takes_as_many_steps_for_a_document_after_a_long_history(
    tmp_path: Path, warehouse: Any, watched: type[WatchedLedger]
) -> None:
    steps = {}
    for loads in (SHORT, LONG):
        folder = tmp_path / str(loads)
        folder.mkdir()
        steps[loads] = await count_steps(World(folder, warehouse), watched, loads)
        await warehouse.execute("TRUNCATE TABLE constructed_counts")
        await warehouse.execute("TRUNCATE TABLE loads")
    assert steps[LONG] <= 1.1 * steps[SHORT], steps


async def test_no_statement_of_a_start_and_a_look_reads_a_whole_table(
    world: World, watched: type[WatchedLedger]
) -> None:
    await count_steps(world, watched, SHORT)
    whole = {sql: plan for sql, plan in watched.plans.items() if any(reads_all(step) for step in plan)}
    assert whole.keys() <= {NEWEST}
    assert len(watched.plans) > 10
