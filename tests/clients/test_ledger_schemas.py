"""A ledger of any earlier release opens, and says the same. `ledgers/schema_N.sql` is the schema as the release had it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from spotlightd.clients.ledger.ledger import SCHEMA, SqliteLedger
from spotlightd.clients.ledger.partitions import SqliteArchive
from spotlightd.model.partition import RetentionRule
from spotlightd.ports.ledger import Job

SCHEMAS = Path(__file__).parent / "ledgers"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
WISHES = {
    "constructed": Job("backfill", "constructed", date(2004, 3, 22)),
    "ticks": Job("replay", "ticks", date(2004, 3, 22)),
    "archive run": Job("archive", first=date(2004, 3, 22)),
    "archive drill": Job("drill", first=date(2004, 3, 22)),
    "archive retry trades 20260301-0": Job("retry", "trades", date(2004, 3, 22), partition="20260301-0"),
    "archive restore trades 20260301-0": Job("restore", "trades", date(2004, 3, 22), partition="20260301-0"),
    "archive restore trades 20260301-0 january": Job(
        "restore", "trades", date(2004, 3, 22), partition="20260301-0", into="january"
    ),
}


def make_ledger(path: Path, version: int, *statements: str) -> None:
    """A ledger file of that schema version, with what the statements insert."""
    schema = (SCHEMAS / f"schema_{version}.sql").read_text()
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(f"{schema} PRAGMA user_version = {version};")
        for sql in statements:
            db.execute(sql)


def insert_load(load_id: int, state: str, supersedes: str, covers: str = "2021/01/a") -> str:
    return (
        "INSERT INTO loads (load_id, source, digest, parser, covers, state, datasets, rows, seq, supersedes, published_at)"
        f" VALUES ({load_id}, 'constructed', '{load_id:064x}', '1', '{covers}', '{state}', '[\"constructed_days\"]',"
        f" '{{\"constructed_days\": 3}}', {load_id}, '{supersedes}', {load_id})"
    )


def test_every_schema_has_a_file_of_its_release() -> None:
    assert {path.name for path in SCHEMAS.iterdir()} == {f"schema_{version}.sql" for version in range(1, SCHEMA)}


@pytest.mark.parametrize("version", range(1, SCHEMA))
async def test_what_superseded_a_load_is_known_of_a_ledger_of_any_schema(tmp_path: Path, version: int) -> None:
    path = tmp_path / "ledger.sqlite"
    loads = (
        insert_load(1, "published", "[]"),
        insert_load(2, "published", "[1]"),
        insert_load(3, "published", "[]", "2021/01/b"),
        insert_load(4, "publishing", "[2]"),
        insert_load(5, "dead", "[3]"),
    )
    make_ledger(path, version, *loads)
    for _ in range(2):  # the second opening finds a ledger of today
        async with SqliteLedger(path) as ledger:
            published = await ledger.loads("constructed", states=("published",))
            assert [(load.load_id, load.superseded_by) for load in published] == [(1, 2), (2, 0), (3, 0)]
            assert [load.load_id for load in await ledger.related_loads("constructed", "2021")] == [2, 3]
            assert await ledger.newest_seq("published") == 3
    async with SqliteLedger(path) as ledger:
        await ledger.mark_published(4)
        assert [load.load_id for load in await ledger.related_loads("constructed", "2021")] == [3, 4]


@pytest.mark.parametrize("version", range(1, SCHEMA))
async def test_a_ledger_without_losses_counts_and_rules_of_retention_gets_them(tmp_path: Path, version: int) -> None:
    """These tables came after schema 4, without a version of their own: `schema_4.sql` has none of them."""
    path, rule = tmp_path / "ledger.sqlite", RetentionRule("documents constructed", 30, 7, NOON)
    make_ledger(path, version)
    async with SqliteLedger(path) as ledger:
        archive = SqliteArchive(ledger)
        assert (await archive.accepted_losses(), await archive.retention_rules()) == ({}, {})
        assert await archive.row_counts() == {}
        await archive.save_row_count("trades", 30)
        await archive.save_row_count("bars", 7)
        await archive.accept_loss("trades", 7)
        await archive.save_retention_rule(rule)
    async with SqliteLedger(path) as ledger:
        archive = SqliteArchive(ledger)
        assert await archive.accepted_losses() == {"trades": 7}
        assert await archive.row_counts() == {"bars": 7}
        assert await archive.retention_rules() == {rule.name: rule}


@pytest.mark.parametrize("version", [2, 3])
async def test_open_wishes_of_a_ledger_of_schema_3_are_read_as_jobs(tmp_path: Path, version: int) -> None:
    path = tmp_path / "ledger.sqlite"
    insert = "INSERT INTO wishes VALUES (NULL, '{}', '2004-03-22', '9999-12-31', '{}', 1, 3, '1 of 3')"
    wishes = [insert.format("constructed", "done"), *(insert.format(source, "running") for source in WISHES)]
    make_ledger(path, version, "INSERT INTO epochs VALUES ('ticks', 1, 'log')", *wishes)
    async with SqliteLedger(path) as ledger:
        jobs = await ledger.open_jobs("backfill", "replay", "archive", "retry", "restore", "drill")
        assert jobs == tuple(
            replace(job, number=number, state="running", done=1, total=3, detail="1 of 3")
            for number, job in enumerate(WISHES.values(), 2)
        )
        assert (await ledger.job(1)).has_ended
        assert (await ledger.add_job(Job("drill"))).number == len(WISHES) + 2
