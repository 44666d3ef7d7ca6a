"""`rehearse`: opens a clone of the state with this release, before the release is switched to."""

from __future__ import annotations

import argparse
import asyncio
import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from spotlightd import __version__
from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.commands.command import Command
from spotlightd.commands.daemon.cloning import clone_databases, clone_engine
from spotlightd.commands.output import Out
from spotlightd.commands.session import require_ledger
from spotlightd.commands.transfer.backup import hold_backups
from spotlightd.datasets.system import archives, loads
from spotlightd.engine.lock import state_lock
from spotlightd.errors import StoreError
from spotlightd.model.dataset import Dataset
from spotlightd.model.text import count
from spotlightd.ports.warehouse import Warehouse
from spotlightd.runtime.access import read_secret
from spotlightd.runtime.daemon import open_without_flows
from spotlightd.runtime.endpoint import WarehouseAddress
from spotlightd.runtime.instance import bucket_folder, make_bucket, make_warehouse, start_engine
from spotlightd.settings.settings import Settings
from spotlightd.settings.sources import BusSettings
from spotlightd.settings.stores import WarehouseSettings

MEMORY_BYTES = 1 << 30
TABLES = "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree' ORDER BY name"
LOADED = "SELECT table FROM system.columns WHERE database = currentDatabase() AND name = 'load_id' ORDER BY table"
COLUMNS = "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = {table:String} AND default_kind = ''"
_POLICY = re.compile(r",\s*storage_policy = '[^']*'")


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Clone, open, migrate, compare. StoreError when a table would have other rows than before."""
    del arguments
    require_ledger(settings)
    with hold_backups(settings.state_dir) as scratch:
        clone = scratch / "clone"
        clone.mkdir(mode=0o700)
        trial = _make_settings(settings, clone)
        await clone_databases(settings.state_dir, clone)
        if settings.warehouse.kind == "embedded":
            await asyncio.to_thread(clone_engine, settings.state_dir, clone)
        before = await _open_as_it_was(settings, trial)
        async with open_without_flows(trial) as instance:
            after = await count_rows(instance.warehouse)
        _compare(before, after)
    rows = sum(before.values())
    tables = count(len(before), "table")
    what = (
        f"{tables} with {count(rows, 'row')}"
        if settings.warehouse.kind == "embedded"
        else f"{tables} without their rows"
    )
    out.result(
        f"release {__version__} opens a clone of the state and changes no row: ledger, {what}",
        {"release": __version__, "tables": len(before), "rows": rows},
    )
    return 0


def _make_settings(settings: Settings, clone: Path) -> Settings:
    """The same settings for the clone: no port of the daemon, no server, no bus of others."""
    bucket = settings.bucket
    if bucket.kind == "folder":
        bucket = replace(bucket, folder=str(bucket_folder(bucket, settings.state_dir.absolute())))
    return replace(
        settings, state_dir=clone, bucket=bucket, bus=BusSettings(),
        warehouse=replace(WarehouseSettings(), database=settings.warehouse.database),
        engine=replace(settings.engine, memory_bytes=MEMORY_BYTES, query_memory_bytes=0),
        web=replace(settings.web, host="127.0.0.1", port=0), metrics=replace(settings.metrics, port=0),
        log=replace(settings.log, table_seconds=0.0),
    )  # fmt: skip


async def _open_as_it_was(settings: Settings, trial: Settings) -> Mapping[str, int]:
    """The rows of each table before this release looks at it. A server's tables are made in the clone's engine."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(state_lock(trial.state_dir))
        _, address = await start_engine(stack, trial, folder, make_bucket(trial)[1])
        engine = await stack.enter_async_context(make_warehouse(address, trial))
        if settings.warehouse.kind == "server":
            server = await stack.enter_async_context(make_warehouse(_server_address(settings), settings))
            await _clone_tables(server, engine)
        return await count_rows(engine)


def _server_address(settings: Settings) -> WarehouseAddress:
    """The server itself: a daemon of another release is not asked for its address."""
    warehouse = settings.warehouse
    password = read_secret(warehouse.password_file, "warehouse.password_file")
    return WarehouseAddress(warehouse.url, warehouse.user, password, warehouse.database)


async def _clone_tables(server: ClickHouse, engine: ClickHouse) -> None:
    """The tables as the server has them, empty but for the two indexes that every start reads."""
    for name, statement in (await server.rows(TABLES)).rows:
        await engine.execute(_POLICY.sub("", statement))
        for index in (loads, archives):
            if name == index.name:
                await _copy_rows(server, engine, index)


async def _copy_rows(server: ClickHouse, engine: ClickHouse, index: Dataset) -> None:
    columns = ", ".join(f"`{name}`" for (name,) in (await server.rows(COLUMNS, {"table": index.name})).rows)
    async with server.stream(f"SELECT {columns} FROM {index.name}", "ArrowStream") as blocks:
        await engine.insert_stream(index, blocks)


async def count_rows(warehouse: Warehouse) -> Mapping[str, int]:
    """The rows of each table. Of tables with loads only those of published loads: a start removes others."""
    loaded = {name for (name,) in (await warehouse.rows(LOADED)).rows}
    counts = dict[str, int]()
    for name, _ in (await warehouse.rows(TABLES)).rows:
        published = " WHERE load_id IN (SELECT load_id FROM loads)" if name in loaded else ""
        counts[name] = int((await warehouse.rows(f"SELECT count() FROM `{name}`{published}")).rows[0][0])
    return counts


def _compare(before: Mapping[str, int], after: Mapping[str, int]) -> None:
    """StoreError that names a table with fewer or more rows. Tables that are new are empty."""
    for name, rows in before.items():
        if after.get(name) != rows:
            found = f"{after[name]:,} rows" if name in after else "no table"
            raise StoreError(
                f"release {__version__} would leave {found} of the {rows:,} rows of {name}: stay with the release before"
            )


COMMAND = Command(
    "rehearse",
    "open a clone of the state with this release and compare, before an upgrade; the daemon may run",
    "spotlightd rehearse --config /etc/spotlightd/spotlightd.toml",
    (),
    run,
)
