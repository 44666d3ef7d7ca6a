"""`/disk`: how full each file system is, what waits because of that, when it will be full, and what uses the space.

File systems are named after what is on them: a path would tell strangers about the machine.
"""

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
from spotlightd.web.routes import Route
from spotlightd.web.state import APP_STATE

TAGS = {Level.FINE: "green", Level.WARNED: "amber"}
LEVEL_TEXTS = {
    Level.WARNED: (
        "Nothing waits. There is a warning here, in the log and in the metrics. A released ballast is not created"
        " again."
    ),
    Level.BATCH_HELD: (
        "No document is fetched or loaded. Publishers keep their documents, and they are fetched later."
    ),
    Level.SINK_HELD: (
        "Nothing is moved into the tables. Frames wait on the bus and in the spool. When the spool is full, feeds are"
        " shed, those of the lowest priority first, each with a gap."
    ),
    Level.BALLAST_RELEASED: (
        "The ballast is deleted, so that partitions can still be dropped. Only partitions that are verified in the"
        " archive may be dropped."
    ),
}


@dataclass(frozen=True, slots=True)
class DatasetSize:
    """What one dataset uses on disk. The days are those of its partitions, None where partitions have no day."""

    dataset: str
    rows: int
    size: int
    oldest: date | None
    newest: date | None


async def show_disk(request: web.Request) -> web.StreamResponse:
    """Also without the warehouse: how full the disks are is known without it."""
    state, error = request.app[APP_STATE].context.disks(), ""
    datasets, documents = list[DatasetSize](), None
    try:
        sizes, stored = await responses.get_reader(request).together(records.part_sizes(), records.documents_size())
        datasets, documents = [DatasetSize(*row) for row in sizes.rows], int(stored.rows[0][0])
    except (StoreError, HttpProblem) as problem:
        error = f"the warehouse cannot answer: {problem}"
    uses = _sizes_by_use(state, datasets, documents)
    if request.path.endswith(".json"):
        sizes_as_json = [_size_to_json(size) for size in datasets]
        return responses.json_response(
            request, {**disk_to_json(state), "datasets": sizes_as_json, "bytes_by_use": uses}
        )
    values: dict[str, Any] = {
        "state": state, "datasets": datasets, "uses": uses, "error": error, "tags": TAGS,
        "known": {dataset.name for dataset in request.app[APP_STATE].context.datasets},
        "levels": [(level, mark, LEVEL_TEXTS[level]) for level, mark in state.marks.marks.items()],
    }  # fmt: skip
    return responses.render_page(request, "disk.html", values)


def _sizes_by_use(state: DiskState, datasets: Sequence[DatasetSize], documents: int | None) -> dict[str, int]:
    """Bytes by what they are used for, largest first. What is not known now is left out."""
    ballast = sum(file_system.ballast_held for file_system in state.file_systems)
    sizes = {**state.files, "ballast": ballast}
    if documents is not None:
        sizes |= {"documents, as published": documents, "tables": sum(dataset.size for dataset in datasets)}
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def disk_to_json(state: DiskState) -> dict[str, Any]:
    return {
        "held": dict(state.holds),
        "marks": _marks_to_json(state.marks),
        "file_systems": [_file_system_to_json(file_system) for file_system in state.file_systems],
    }


def _marks_to_json(marks: Watermarks) -> Mapping[str, float]:
    return {level.name.lower(): mark for level, mark in marks.marks.items()} | {"hysteresis": marks.hysteresis}


def _file_system_to_json(file_system: FileSystem) -> dict[str, Any]:
    usage, forecast, ballast = file_system.usage, file_system.forecast, file_system.ballast
    return {
        "name": file_system.label, "size": usage.size, "used": usage.used, "free": usage.free,
        "percent": round(file_system.percent, 2), "level": int(file_system.level),
        "level_name": file_system.level.label, "detail": file_system.summary, "error": file_system.error,
        "bytes_per_second": forecast.rate, "full_in_seconds": forecast.seconds, "forecast": forecast.summary,
        "folders": [folder.label for folder in file_system.folders],
        "ballast": ballast and {
            "wanted": ballast.wanted, "held": ballast.held, "detail": ballast.detail,
        },
    }  # fmt: skip


def _size_to_json(size: DatasetSize) -> dict[str, Any]:
    return {
        "dataset": size.dataset, "rows": size.rows, "bytes": size.size, "oldest": size.oldest, "newest": size.newest,
    }  # fmt: skip


ROUTES = (Route("/disk", show_disk), Route("/disk.json", show_disk))
