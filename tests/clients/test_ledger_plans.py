"""What runs for each document, event or look finds its rows by an index, however long the history."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spotlightd.clients.ledger.positions import SqlitePositions
from spotlightd.model.offsets import Gap
from spotlightd.ports.ledger import Job
from tests.clients.watched_ledger import WatchedLedger, reads_all

from .test_ledger_loads import feed, publish, transform

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
async def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WatchedLedger]:
    monkeypatch.setattr(WatchedLedger, "plans", {})
    async with WatchedLedger(tmp_path / "ledger.sqlite") as opened:
        yield opened


async def look_everything_up(ledger: WatchedLedger) -> None:
    ticks, bars = feed("ticks", "trades"), transform("bars", "trades")
    load = await publish(ledger, ticks, "2026/03/01/1")
    await ledger.close_load(load.load_id)
    await publish(ledger, bars, "ticks/1", derived_from=load.load_id)
    await ledger.related_loads("ticks", "2026/03/01", superseded=True)
    await ledger.visible_loads("ticks")
    await ledger.open_loads("ticks")
    await ledger.published_loads([load.load_id])
    await ledger.derived_loads([load.load_id])
    await ledger.uncomputed_loads(bars)
    for states in (("loading",), ("loaded", "loading"), ("dead",)):
        await ledger.loads("ticks", states=states)
        await ledger.loads(states=states)
    await ledger.addresses_of("ticks", ["ab" * 32])
    await ledger.documents()
    await ledger.history("runs", 0, 10)
    await ledger.update_job(await ledger.add_job(Job("backfill", "ticks")))
    await ledger.open_jobs("backfill", "replay")
    positions = SqlitePositions(ledger)
    await positions.intents("ticks")
    await positions.add_gap(Gap("ticks", NOON, NOON, "stopped", detail="the daemon was stopped"))


async def test_every_look_up_searches_an_index(ledger: WatchedLedger) -> None:
    await look_everything_up(ledger)
    whole = {sql: plan for sql, plan in ledger.plans.items() if any(reads_all(step) for step in plan)}
    assert list(whole) == [sql for sql in whole if "FROM intents" in sql], "intents are deleted when they are done"
    assert len(ledger.plans) > 20
