"""`/disk`: how full each file system is, what that holds, when it will be full, and what takes the space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from aiohttp import web

from spotlightd.errors import StoreError
from spotlightd.model.disk import DiskState, FileSystem, Level, Watermarks
from spotlightd.query import records
from spotlightd.query.errors import HttpProblem
from spotlightd.web import responses
from spotlightd.web.state import APP_STATE

TAGS = {Level.FINE: "green", Level.WARNED: "amber"}
SHED = {
    Level.WARNED: "Nothing waits. It is said here, in the log and in the metrics; a released ballast is not made again.",
    Level.BATCH_HELD: "No document is fetched or loaded. Publishers keep theirs, and it is made up later.",
    Level.SINK_HELD: (
        "Nothing is moved into the tables. Frames wait on the bus and in the spool; when that is full, feeds are shed,"
        " those of the lowest priority first, each with a gap."
    ),
    Level.BALLAST_RELEASED: (
        "The ballast goes, so that partitions can be dropped at all. Only what is verified in the archive may be dropped."
    ),
}


@dataclass(frozen=True, slots=True)
class Taken:
    """What one dataset takes. Days are those of its partitions, None where they tell none."""

    dataset: str
    rows: int
    size: int
    oldest: date | None
    newest: date | None


async def show_disk(request: web.Request) -> web.StreamResponse:
    """Also while the warehouse does not answer: how full the disks are is known without it."""
    state, blind = request.app[APP_STATE].context.disks(), ""
    taken, documents = list[Taken](), None
    try:
        sizes, stored = await responses.reader(request).all(records.part_sizes(), records.documents_size())
        taken, documents = [Taken(*row) for row in sizes.rows], int(stored.rows[0][0])
    except (StoreError, HttpProblem) as problem:
        blind = f"the warehouse cannot answer: {problem}"
    folders = _folders(state, taken, documents)
    if request.path.endswith(".json"):
        return responses.document(
            request, {**told(state), "datasets": [_plain(one) for one in taken], "takes": folders}
        )
    known = {one.name for one in request.app[APP_STATE].context.datasets}
    values: dict[str, Any] = {
        "state": state, "taken": taken, "folders": folders, "blind": blind, "tags": TAGS, "known": known,
        "order": [(level, mark, SHED[level]) for level, mark in state.marks.marks.items()],
    }  # fmt: skip
    return responses.page(request, "disk.html", values)


def _folders(state: DiskState, taken: Sequence[Taken], documents: int | None) -> dict[str, int]:
    """Bytes by what they are for, largest first; without what is not known now."""
    ballast = sum(one.ballast_held for one in state.file_systems)
    found = {**state.files, "ballast": ballast}
    if documents is not None:
        found |= {"documents, as published": documents, "tables": sum(one.size for one in taken)}
    return dict(sorted(found.items(), key=lambda one: -one[1]))


def told(state: DiskState) -> dict[str, Any]:
    """For JSON."""
    return {
        "held": dict(state.held),
        "marks": _marks(state.marks),
        "file_systems": [_told(one) for one in state.file_systems],
    }


def _marks(marks: Watermarks) -> Mapping[str, float]:
    return {level.name.lower(): mark for level, mark in marks.marks.items()} | {"hysteresis": marks.hysteresis}


def _told(one: FileSystem) -> dict[str, Any]:
    ballast = one.ballast and {
        "path": str(one.ballast.path), "wanted": one.ballast.wanted, "held": one.ballast.held, "says": one.ballast.says,
    }  # fmt: skip
    return {
        "name": one.name, "size": one.now.size, "used": one.now.used, "free": one.now.free,
        "percent": round(one.percent, 2), "level": int(one.level), "level_says": one.level.says, "says": one.says, "trouble": one.trouble,
        "bytes_per_second": one.forecast.rate, "full_in_seconds": one.forecast.seconds, "forecast": one.forecast.says,
        "folders": {each.name: str(each.path) for each in one.folders}, "ballast": ballast,
    }  # fmt: skip


def _plain(one: Taken) -> dict[str, Any]:
    return {"dataset": one.dataset, "rows": one.rows, "bytes": one.size, "oldest": one.oldest, "newest": one.newest}
