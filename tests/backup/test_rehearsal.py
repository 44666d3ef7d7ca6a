"""A release is rehearsed on a clone of the state: what it would do to the rows is known before it is switched to."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from spotlightd.commands.daemon import rehearse
from spotlightd.commands.output import Out
from spotlightd.errors import StoreError
from spotlightd.runtime.daemon import open_without_flows
from spotlightd.runtime.instance import Instance
from spotlightd.settings.settings import Settings
from spotlightd.settings.sources import PublisherSettings
from tests.backup.conftest import State, read_facts


def make_settings(state: State) -> Settings:
    """With the address that a start needs."""
    return replace(state.settings, publisher=PublisherSettings(contact="you@example.org"))


def find_links(state: Path) -> set[Path]:
    """The files of the tables that have a second name."""
    return {path for path in (state / "engine").rglob("*") if path.is_file() and path.stat().st_nlink > 1}


async def test_a_release_that_keeps_every_row_passes_and_leaves_nothing(
    state: State, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    linked = set[Path]()

    @asynccontextmanager
    async def look(settings: Settings) -> AsyncIterator[Instance]:
        linked.update(find_links(state.settings.state_dir))
        async with open_without_flows(settings) as instance:
            yield instance

    monkeypatch.setattr(rehearse, "open_without_flows", look)
    assert await rehearse.run(argparse.Namespace(), make_settings(state), Out()) == 0
    assert "changes no row: ledger, " in capsys.readouterr().out
    assert {path.suffix for path in linked} >= {".bin", ".cidx"}
    assert not find_links(state.settings.state_dir)
    assert not (state.settings.state_dir / "backup" / "clone").exists()
    assert await read_facts(state.settings) == state.facts


async def test_a_release_that_would_lose_rows_is_refused_and_the_state_has_them_all(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def lose(settings: Settings) -> AsyncIterator[Instance]:
        async with open_without_flows(settings) as instance:
            await instance.warehouse.execute("TRUNCATE TABLE trades")
            yield instance

    monkeypatch.setattr(rehearse, "open_without_flows", lose)
    with pytest.raises(StoreError, match=r"would leave 0 rows of the 101 rows of trades: stay with the release before"):
        await rehearse.run(argparse.Namespace(), make_settings(state), Out())
    assert not (state.settings.state_dir / "backup" / "clone").exists()
    monkeypatch.undo()
    assert await read_facts(state.settings) == state.facts
