"""Fills a new state folder from a backup."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from spotlightd.clients.clickhouse.archive_index import WarehouseArchives
from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.clients.disk import require_free_space
from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.clients.ledger.partitions import SqliteArchive
from spotlightd.datasets.system import SYSTEM_DATASETS, archives, loads
from spotlightd.engine.lock import LockedFolder, state_lock
from spotlightd.errors import SettingsError
from spotlightd.files import flush_folder, open_existing, write_file
from spotlightd.flows.archive.plan import next_generations
from spotlightd.flows.backup.manifest import Manifest, read_manifest
from spotlightd.flows.backup.restorer import (
    Backup,
    drop_unknown_loads,
    require_datasets,
    restore_bucket,
    restore_documents,
    restore_rows,
)
from spotlightd.flows.upkeep.tables import list_tables
from spotlightd.model.dataset import Dataset
from spotlightd.ports.progress import Progress
from spotlightd.ports.storage import Bucket
from spotlightd.runtime.catalog import load_catalog
from spotlightd.runtime.instance import LEDGER_FILE, make_bucket, make_documents, make_warehouse, start_engine
from spotlightd.settings.settings import Settings
from spotlightd.settings.stores import WarehouseSettings

SCRATCH = "restore"
"""The folder of an unfinished restore, in the state folder. What is beside it may be emptied."""

SETTINGS_FILE = "spotlightd.toml"

TRIAL_SHARE = 3
"""A trial needs room for tables, documents and the object in hand: at most three times the size of the backup."""

TRIAL_MEMORY_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored: rows by table, and the numbers of documents and of the bucket's objects."""

    manifest: Manifest
    rows: Mapping[str, int]
    documents: int
    objects: int


async def restore_state(
    settings: Settings,
    source: Bucket,
    prefix: str,
    at: datetime | None,
    progress: Progress,
    decrypt: Callable[[Path, Path], None] | None = None,
) -> Restored:
    """Restore the newest backup, or the newest of that time. SettingsError when the state folder is not new.
    `decrypt` writes the second file from the first, for a backup that is encrypted.
    """
    with state_lock(settings.state_dir) as folder:
        scratch = folder.folder / SCRATCH
        _require_new(folder.folder)
        manifest = await read_manifest(source, prefix, at)
        is_again = scratch.exists()
        if not is_again and (folder.folder / "engine").exists():
            raise SettingsError(f"{folder.folder} holds tables without a ledger: restore into a new state folder")
        scratch.mkdir(mode=0o700, exist_ok=True)
        flush_folder(folder.folder)
        for leftover in scratch.iterdir():  # also the log of a ledger: it must not be applied to another copy
            leftover.unlink()
        backup = Backup(source, manifest, scratch, decrypt)
        await _place_files(backup, folder.folder)
        restored = await _fill(settings, folder, backup, progress, is_again=is_again)
        _commit(scratch / LEDGER_FILE, folder.folder)
        shutil.rmtree(scratch)
        return restored


async def restore_on_trial(
    settings: Settings,
    source: Bucket,
    prefix: str,
    at: datetime | None,
    folder: Path,
    progress: Progress,
    decrypt: Callable[[Path, Path], None] | None = None,
) -> Restored:
    """Restore into a new folder with an engine of its own, which compares all digests and counts, and remove the folder.
    Neither the state nor the tables of a server are touched.
    """
    manifest = await read_manifest(source, prefix, at)
    size = TRIAL_SHARE * sum(item.size for item in manifest.objects)
    require_free_space(folder, settings.disk.warn_percent, size)
    engine = replace(settings.engine, memory_bytes=TRIAL_MEMORY_BYTES, query_memory_bytes=0)
    trial = replace(settings, state_dir=folder, warehouse=WarehouseSettings(), engine=engine)
    try:
        return await restore_state(trial, source, prefix, at, progress, decrypt)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _commit(ledger: Path, folder: Path) -> None:
    """Make the folder a state: durable, or not at all."""
    with open_existing(ledger) as file:
        os.fsync(file.fileno())
    ledger.replace(folder / LEDGER_FILE)
    flush_folder(folder)


def _require_new(folder: Path) -> None:
    """SettingsError when the folder has a ledger, or a part of one."""
    if found := sorted(folder.glob(f"{LEDGER_FILE}*")):
        raise SettingsError(
            f"{found[0]} exists: a backup is restored into a new state folder only. Name another one with --state"
        )


async def _place_files(backup: Backup, folder: Path) -> None:
    """Own sources, which the catalog needs, and the settings, for the operator to compare."""
    sources = folder / "sources"
    for item in backup.manifest.of_kind("source"):
        for place in reversed((sources / item.name).relative_to(folder).parents[:-1]):
            (folder / place).mkdir(mode=0o700, exist_ok=True)
        write_file(sources / item.name, (await backup.fetch(item)).read_bytes())
    for item in backup.manifest.of_kind("settings"):
        write_file(folder / SETTINGS_FILE, (await backup.fetch(item)).read_bytes())


async def _fill(
    settings: Settings, folder: LockedFolder, backup: Backup, progress: Progress, *, is_again: bool
) -> Restored:
    """Everything but the ledger, which is left in the scratch folder, whole and checked."""
    catalog, manifest = load_catalog(settings), backup.manifest
    datasets = {dataset.name: dataset for dataset in (loads, archives, *SYSTEM_DATASETS, *catalog.datasets)}
    require_datasets(manifest, datasets)
    generations, newest = await _read_ledger(backup, datasets)
    bucket, reach = make_bucket(settings)
    documents = make_documents(settings, bucket)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(bucket)
        await stack.enter_async_context(documents.folder)
        _, address = await start_engine(stack, settings, folder, reach)
        warehouse = await stack.enter_async_context(make_warehouse(address, settings))
        await _empty(warehouse, is_again=is_again)
        objects = await restore_bucket(backup, bucket, progress)  # first: views name them
        index, rows = WarehouseArchives(warehouse, tuple(datasets.values()), bucket.table), dict[str, int]()
        for number, (name, dataset) in enumerate(datasets.items()):
            progress(name, number, len(datasets))
            rows[name] = await restore_rows(backup, warehouse, dataset, index.archived, generations.get(name, {}))
            if name == archives.name:
                await index.refresh()
        for name in sorted({item.partition[0] for item in manifest.of_kind("rows")}):
            await drop_unknown_loads(warehouse, datasets[name], newest)
        return Restored(manifest, rows, await restore_documents(backup, documents.folder, progress), objects)


async def _read_ledger(backup: Backup, datasets: Mapping[str, Dataset]) -> tuple[dict[str, dict[int, int]], int]:
    """The generations of sealed partitions by dataset, and the newest load that the ledger knows."""
    path = await backup.fetch(backup.manifest.of_kind("ledger")[0], LEDGER_FILE)
    async with SqliteLedger(path) as ledger:
        partitions = [item for item in await SqliteArchive(ledger).partitions() if item.stage != "planned"]
        newest = (await ledger.run("SELECT coalesce(max(load_id), 0) AS newest FROM loads"))[0]["newest"]
    return {name: next_generations(partitions, name) for name in datasets}, newest


async def _empty(warehouse: ClickHouse, *, is_again: bool) -> None:
    """Drop what an interrupted restore inserted. SettingsError when the tables are not its own."""
    tables = await list_tables(warehouse)
    if tables and not is_again:
        raise SettingsError("the warehouse holds tables already: restore into a new database (warehouse.database)")
    for name in sorted(tables):
        await warehouse.execute(f"DROP TABLE IF EXISTS `{name}` SYNC")
