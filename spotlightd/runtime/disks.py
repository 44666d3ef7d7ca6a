"""Wires the watch over the disks: which folders, what of our work needs them, where the ballast lies."""

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
    """The watch, to be run as a flow. SettingsError when the marks do not grow.

    The disk of the tables holds all that fills it. That of the ledger, the bus and the spool does not hold the sink: what is
    drained may be forgotten there. Others are only watched: what finds no room in a temporary folder fails cleanly.
    """
    told, state = settings.disk, settings.state_dir.absolute()
    folders = [
        *_tables(settings, state),
        *_bucket(settings, state),
        Folder("documents", state / "documents", BATCH),
        Folder("ledger, bus and spool", state, BATCH),
        Folder("temporary files", Path(tempfile.gettempdir())),
        *(Folder(one, Path(one).absolute()) for one in told.folders),
    ]
    return DiskWatch(
        LocalDisks(told.answer_seconds), folders, watermarks(told), gate,
        every_seconds=told.every_seconds, ballast=ballast_file(settings),
        configured_ballast=told.ballast_bytes, files=_files(state), on_critical=on_critical,
    )  # fmt: skip


def _tables(settings: Settings, state: Path) -> list[Folder]:
    """None for a server elsewhere: it watches its own disks."""
    if settings.warehouse.kind == "embedded":
        tmp = Folder("temporary files of the engine", state / "engine" / "tmp")
        return [Folder("tables", state / "engine", ALL), tmp]
    return [Folder("tables", Path(settings.disk.server_folder), ALL)] if settings.disk.server_folder else []


def _bucket(settings: Settings, state: Path) -> list[Folder]:
    """Watched only: what finds no room in the bucket stays in the warehouse."""
    ours = settings.bucket
    return [Folder("bucket", bucket_folder(ours, state))] if ours.kind == "folder" else []


async def release_ballast(settings: Settings) -> None:
    """Before anything is opened: on a disk that filled up meanwhile not even a start would be possible.

    What else is wrong with the folder is said by those who open it.
    """
    disks, file = LocalDisks(settings.disk.answer_seconds), ballast_file(settings)
    with suppress(StoreError):
        now, taken = await disks.measure(file.parent), await disks.allocated_bytes(file)
        if taken and percent_of(now.used, now.size) >= settings.disk.ballast_percent:
            await disks.remove(file)
            logger(disk=now.mount).warning("ballast released", bytes=taken)


def ballast_file(settings: Settings) -> Path:
    """Beside the tables, where they are ours."""
    state = settings.state_dir.absolute()
    return (state / "engine" if settings.warehouse.kind == "embedded" else state) / BALLAST_FILE


def _files(state: Path) -> dict[str, list[Path]]:
    """What lies in the state folder itself, with what SQLite keeps beside it."""
    names = {"ledger": "ledger.sqlite", "bus": "bus.sqlite", "spool": "spool.sqlite"}
    return {what: [state / f"{name}{end}" for end in ("", "-wal")] for what, name in names.items()}


def read_disk_metrics(state: DiskState) -> tuple[DiskReading, ...]:
    """The file systems as the metrics read them."""
    return tuple(
        DiskReading(
            one.name, one.usage.size, one.usage.free, int(one.level), one.ballast_held,
            None if one.forecast.rate is None else one.forecast.seconds or math.inf, not one.error,
        )
        for one in state.file_systems
    )  # fmt: skip
