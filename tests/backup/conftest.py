"""A small state with rows that are hot, rows that came after a seal, and rows in the bucket; and its backup."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from spotlightd.clients.bucket.folder import FolderBucket
from spotlightd.commands.session import open_session
from spotlightd.commands.transfer.backup import make_context
from spotlightd.datasets.trades import trades
from spotlightd.flows.archive.archiver import Archiver
from spotlightd.flows.backup.context import BackupContext
from spotlightd.flows.backup.writer import WrittenBackup, write_backup
from spotlightd.model.stream import covers, load_digest
from spotlightd.ports.progress import ignore_progress
from spotlightd.runtime.archive import make_archive_context
from spotlightd.runtime.instance import make_bucket, open_instance
from spotlightd.settings.load import load_settings
from spotlightd.settings.settings import Settings
from spotlightd.settings.stores import ArchiveSettings
from spotlightd.sql.fingerprint import fingerprint_columns
from spotlightd.sql.visibility import all_rows
from tests.archive.archive_world import FEED, TODAY, tick
from tests.flows.bundle_world import InlineVerifier
from tests.manual_clock import ManualClock

DAYS = (date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 19))
ARCHIVE = ArchiveSettings(hot_days={"trades": 10}, late_seconds=0.0, grace_seconds=0.0)
OWN_SOURCE = '"""Constructed: it declares nothing."""\n'


@dataclass(frozen=True)
class State:
    """A state folder, and the folder of its backups."""

    settings: Settings
    backups: Path
    facts: dict[str, Any] = field(default_factory=dict)
    first: WrittenBackup | None = None

    @asynccontextmanager
    async def context(self) -> AsyncIterator[BackupContext]:
        scratch = self.settings.state_dir / "backup"
        scratch.mkdir(exist_ok=True)
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(open_session(self.settings))
            bucket, _ = make_bucket(self.settings)
            await stack.enter_async_context(bucket)
            target = await stack.enter_async_context(FolderBucket(self.backups))
            yield make_context(None, self.settings, session, bucket, target, "", scratch)


async def fill(settings: Settings) -> None:
    """Trades of three days, of which one is in the bucket; a late one of that day; two documents; an own source."""
    async with open_instance(settings) as instance:
        begun = await instance.ledger.begin_load(FEED, load_digest(FEED.name, DAYS[0], 1), covers(DAYS[0], 1))
        await instance.publications.publish(await instance.ledger.mark_loaded(begun.load_id, {}, ()))
        await instance.ledger.close_load(begun.load_id)
        for day in DAYS:
            await instance.warehouse.insert(trades, [tick(day, number) for number in range(100)])
        clock = ManualClock(TODAY)
        context = replace(make_archive_context(instance), verifier=InlineVerifier(), transforms=())
        archiver = Archiver(context, clock=clock.to_clock())
        for _ in range(5):
            await archiver.round()
            clock.seconds += 86_400.0  # the first rule of a dataset that has rows waits for a day
        await instance.warehouse.insert(trades, [tick(DAYS[0], 500)])
        for text in (b"one document", b"another document"):
            await instance.documents.put(_chunks(text))
    (settings.state_dir / "sources").mkdir()
    (settings.state_dir / "sources" / "own.py").write_text(OWN_SOURCE)
    (settings.state_dir / "sources" / "own").mkdir()
    (settings.state_dir / "sources" / "own" / "daily.py").write_text(OWN_SOURCE * 2)


async def _chunks(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def read_facts(settings: Settings) -> dict[str, Any]:
    """The fingerprint of every dataset, hot and archived, and the partitions that are hot."""
    async with open_instance(settings) as instance:
        facts: dict[str, Any] = {}
        for dataset in instance.datasets:
            rows_of = all_rows(dataset, instance.archives.archived)
            sql = f"SELECT {fingerprint_columns(dataset.stored, dataset.time)} FROM {rows_of}"
            facts[dataset.name] = (await instance.warehouse.rows(sql)).rows[0]
        hot = await instance.warehouse.rows("SELECT _partition_id, count() FROM trades GROUP BY 1 ORDER BY 1")
        newest = await instance.warehouse.rows("SELECT max(seq) FROM loads")
        files = {document.digest: document.size async for document in instance.documents.folder.local()}
        return facts | {"hot": hot.rows, "newest": newest.rows, "files": files}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def original(tmp_path_factory: pytest.TempPathFactory) -> State:
    """Filled and backed up once; tests take copies."""
    folder = tmp_path_factory.mktemp("original")
    settings = replace(load_settings(None), state_dir=folder / "state", archive=ARCHIVE)
    await fill(settings)
    facts = await read_facts(settings)
    async with make_state(folder).context() as context:
        first = await write_backup(context, ignore_progress)
    return replace(make_state(folder), facts=facts, first=first)


def make_state(folder: Path) -> State:
    settings = replace(load_settings(None), state_dir=folder / "state", archive=ARCHIVE)
    return State(settings, folder / "backups")


@pytest.fixture
def state(original: State, tmp_path: Path) -> State:
    shutil.copytree(original.settings.state_dir, tmp_path / "state", symlinks=True)
    shutil.copytree(original.backups, tmp_path / "backups")
    return replace(make_state(tmp_path), facts=original.facts, first=original.first)
