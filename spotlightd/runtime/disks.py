"""Wires the disk monitor: which folders it measures, which work each one holds, where the ballast is."""

from __future__ import annotations

import math
import tempfile
from contextlib import suppress
from pathlib import Path

from spotlightd.clients.disk import LocalDisks
from spotlightd.errors import StoreError
from spotlightd.flows.gate import Gate
from spotlightd.flows.upkeep.disk import Critical, DiskWatch, drop_nothing
from spotlightd.log import logger
from spotlightd.model.disk import DiskState, Folder, Work, percent_of, watermarks
from spotlightd.ports.metrics import DiskReading
from spotlightd.runtime.instance import bucket_folder
from spotlightd.settings.settings import Settings

BALLAST_FILE = "ballast"
BATCH: tuple[Work, ...] = ("batch loads",)
ALL: tuple[Work, ...] = ("batch loads", "the sink")


def make_disk_monitor(settings: Settings, gate: Gate, *, on_critical: Critical = drop_nothing) -> DiskWatch:
    """The monitor, to be run as a flow. SettingsError when a watermark is not above the one before.

    The disk of the tables holds batch loads and the sink. The disk of the ledger, the bus and the spool does not hold the
    sink, because drained frames may be dropped there. Other disks hold nothing: work that finds no space in a temporary
    folder fails cleanly.
    """
    section, state = settings.disk, settings.state_dir.absolute()
    folders = [
        *_table_folders(settings, state),
        *_bucket_folders(settings, state),
        Folder("documents", state / "documents", BATCH),
        Folder("ledger, bus and spool", state, BATCH),
        Folder("temporary files", Path(tempfile.gettempdir())),
        *(Folder(folder, Path(folder).absolute()) for folder in section.folders),
    ]
    return DiskWatch(
        LocalDisks(section.answer_seconds), folders, watermarks(section), gate,
        every_seconds=section.every_seconds, ballast=ballast_file(settings),
        configured_ballast=section.ballast_bytes, files=_list_files(state), on_critical=on_critical,
    )  # fmt: skip


def _table_folders(settings: Settings, state: Path) -> list[Folder]:
    """The folders of the tables. A ClickHouse server on another machine has to monitor its own disks."""
    if settings.warehouse.kind == "embedded":
        temporary = Folder("temporary files of the engine", state / "engine" / "tmp")
        return [Folder("tables", state / "engine", ALL), temporary]
    return [Folder("tables", Path(settings.disk.server_folder), ALL)] if settings.disk.server_folder else []


def _bucket_folders(settings: Settings, state: Path) -> list[Folder]:
    """The bucket's folder holds no work: rows that find no space there stay in the warehouse."""
    bucket = settings.bucket
    return [Folder("bucket", bucket_folder(bucket, state))] if bucket.kind == "folder" else []


async def release_ballast(settings: Settings) -> None:
    """Remove the ballast if the disk is too full to start: to be called before anything is opened.

    Other errors of the folder are left to the clients that open it.
    """
    disks, file = LocalDisks(settings.disk.answer_seconds), ballast_file(settings)
    with suppress(StoreError):
        usage, ballast_bytes = await disks.measure(file.parent), await disks.allocated_bytes(file)
        if ballast_bytes and percent_of(usage.used, usage.size) >= settings.disk.ballast_percent:
            await disks.remove(file)
            logger(disk=usage.mount).warning("ballast released", bytes=ballast_bytes)


def ballast_file(settings: Settings) -> Path:
    """On the disk of the tables with the embedded engine; with a ClickHouse server on the disk of the state folder."""
    state = settings.state_dir.absolute()
    return (state / "engine" if settings.warehouse.kind == "embedded" else state) / BALLAST_FILE


def _list_files(state: Path) -> dict[str, list[Path]]:
    """The files of the state folder itself, each with its write-ahead log."""
    files = {"ledger": "ledger.sqlite", "bus": "bus.sqlite", "spool": "spool.sqlite"}
    return {name: [state / f"{file}{suffix}" for suffix in ("", "-wal")] for name, file in files.items()}


def read_disk_metrics(state: DiskState) -> tuple[DiskReading, ...]:
    """The file systems, in the form that the metrics need."""
    return tuple(
        DiskReading(
            disk.name, disk.usage.size, disk.usage.free, int(disk.level), disk.ballast_held,
            None if disk.forecast.rate is None else disk.forecast.seconds or math.inf, not disk.error,
        )
        for disk in state.file_systems
    )  # fmt: skip
