"""Wires the watch over the disks: which folders, what of our work needs them, where the ballast lies."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

from spotlightd.clients.disk import LocalDisks
from spotlightd.flows.disk import Critical, Watching, nothing_verified
from spotlightd.flows.gate import Gate
from spotlightd.model.disk import DiskState, Folder, Work, watermarks
from spotlightd.model.meters import DiskReading
from spotlightd.model.settings import Settings

BALLAST_FILE = "ballast"
BATCH: tuple[Work, ...] = ("batch loads",)
ALL: tuple[Work, ...] = ("batch loads", "the sink")


def watching(settings: Settings, gate: Gate, *, on_critical: Critical = nothing_verified) -> Watching:
    """The watch, to be run as a flow. SettingsError when the marks do not grow.

    The disk of the tables holds all that fills it. That of the ledger, the bus and the spool does not hold the sink: what is
    drained may be forgotten there. Others are only watched: what finds no room in a temporary folder fails cleanly.
    """
    told, state = settings.disk, settings.state_dir.absolute()
    tables = state / "engine" if settings.warehouse.kind == "embedded" else Path(told.server_folder or state)
    folders = [
        Folder("tables", tables, ALL if settings.warehouse.kind == "embedded" or told.server_folder else BATCH),
        Folder("documents", state / "documents", BATCH),
        Folder("ledger, bus and spool", state, BATCH),
        Folder("temporary files of the engine", state / "engine" / "tmp"),
        Folder("temporary files", Path(tempfile.gettempdir())),
        *(Folder(one, Path(one).absolute()) for one in told.folders),
    ]
    embedded = settings.warehouse.kind == "embedded"
    if not embedded:
        folders = [one for one in folders if one.name != "temporary files of the engine"]
    return Watching(
        LocalDisks(told.answer_seconds), folders, watermarks(told), gate,
        every_seconds=told.every_seconds, ballast=(tables if embedded else state) / BALLAST_FILE,
        told_bytes=told.ballast_bytes, files=_files(state), on_critical=on_critical,
    )  # fmt: skip


def _files(state: Path) -> dict[str, list[Path]]:
    """What lies in the state folder itself, with what SQLite keeps beside it."""
    names = {"ledger": "ledger.sqlite", "bus": "bus.sqlite", "spool": "spool.sqlite"}
    return {what: [state / f"{name}{end}" for end in ("", "-wal")] for what, name in names.items()}


def readings(state: DiskState) -> tuple[DiskReading, ...]:
    """The file systems as the metrics read them."""
    return tuple(
        DiskReading(
            one.name, one.now.size, one.now.free, int(one.level), one.ballast.held if one.ballast else 0,
            None if one.forecast.rate is None else one.forecast.seconds or math.inf, not one.trouble,
        )
        for one in state.file_systems
    )  # fmt: skip
