"""All versions of a row that were published under one key, each with its load, its document, and its line or frame."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from aiohttp import web

from spotlightd.model.dataset import Column, Dataset
from spotlightd.query import records
from spotlightd.query.reader import Reader
from spotlightd.query.select import Query
from spotlightd.query.values import bound_type, format_address
from spotlightd.sql.visibility import Snapshot
from spotlightd.web.parts import frames, lines
from spotlightd.web.parts.frames import FoundFrame
from spotlightd.web.parts.lines import Line
from spotlightd.web.state import APP_STATE

LINES_AROUND = 2
MOST_RECEIPTS = 3


@dataclass(frozen=True, slots=True)
class Version:
    """The row as one load has it.

    `load` and `document` are records, empty for datasets that come from no document. `standing` is relative to the
    snapshot's publication. `superseded_by` is the load that ended this version. `changed` are the columns that differ
    from the visible row. `line` and `frame` are what the version was read from.
    """

    values: Mapping[str, Any]
    load: Mapping[str, Any]
    document: Mapping[str, Any]
    standing: Literal["visible", "earlier", "later"]
    superseded_by: Mapping[str, Any] | None = None
    changed: tuple[Column, ...] = ()
    line: Line | None = None
    frame: FoundFrame | None = None

    @property
    def source_address(self) -> str:
        """The line of the document, or the frame, that the row came from. Empty for a row computed from other rows."""
        if "frame_index" in self.values:
            return frames.frame_address(self.load["source"], self.values)
        if "line" in self.values:
            place = {"member": self.values["member"], "line": self.values["line"]}
            return format_address(f"/source/{self.load['document']}", place)
        return ""


async def read_versions(reader: Reader, dataset: Dataset, key: Sequence[str], snapshot: Snapshot) -> list[Version]:
    """Everything that was published under the key, oldest first."""
    types = [bound_type(dataset.column(name)) for name in dataset.key]
    rows = (await reader.rows(records.versions(dataset, key, types, snapshot))).dicts()
    if not dataset.has_receipts or not rows:
        return [Version(row, {}, {}, "visible") for row in rows]
    load_rows = (await reader.rows(records.loads_of(dataset, sorted({row["load_id"] for row in rows})))).dicts()
    loads = {load["load_id"]: load for load in load_rows}
    superseders = {load_id: load for load in reversed(load_rows) for load_id in load["supersedes"]}
    documents = await _read_documents(reader, {loads[row["load_id"]]["document"] for row in rows})
    rows.sort(key=lambda row: loads[row["load_id"]]["seq"])
    versions = [_make_version(row, loads, superseders, documents, snapshot) for row in rows]
    return [_compare_with_visible(version, versions, dataset) for version in versions]


def _make_version(
    row: dict[str, Any],
    loads: dict[int, Any],
    superseders: dict[int, Any],
    documents: dict[str, Any],
    snapshot: Snapshot,
) -> Version:
    load, superseder = loads[row["load_id"]], superseders.get(row["load_id"])
    is_superseded = superseder is not None and superseder["seq"] <= snapshot.seq
    standing: Literal["visible", "earlier", "later"] = "earlier" if is_superseded else "visible"
    if load["seq"] > snapshot.seq:
        standing = "later"
    return Version(row, load, documents.get(load["document"], {}), standing, superseder)


def _compare_with_visible(version: Version, versions: Sequence[Version], dataset: Dataset) -> Version:
    """The version with the columns in which it differs from the visible row, if exactly one row is visible."""
    visible = [other for other in versions if other.standing == "visible"]
    if len(visible) != 1 or version.standing == "visible":
        return version
    changed = tuple(
        column for column in dataset.columns if version.values[column.name] != visible[0].values[column.name]
    )
    return replace(version, changed=changed)


async def _read_documents(reader: Reader, digests: set[str]) -> dict[str, Any]:
    """The records of those documents, each from the first time that it was fetched."""
    places = ", ".join(f"{{d{index}:String}}" for index in range(len(digests)))
    sql = (
        "SELECT digest, size, source, url, via, fetched_at, last_modified FROM documents "
        f"WHERE digest IN ({places}) ORDER BY id DESC"
    )
    answer = await reader.rows(Query(sql, {f"d{index}": digest for index, digest in enumerate(sorted(digests))}))
    return {row["digest"]: row for row in answer.dicts()}


async def add_receipts(request: web.Request, dataset: Dataset, versions: Sequence[Version]) -> list[Version]:
    """The versions; the first visible ones with their line, or with their frame."""
    return await _add_frames(request, dataset, await _add_lines(request, versions))


async def _add_lines(request: web.Request, versions: Sequence[Version]) -> list[Version]:
    some = [
        version for version in versions if version.standing == "visible" and version.load and "line" in version.values
    ][:MOST_RECEIPTS]
    places = [(version.load["document"], version.values["member"], version.values["line"]) for version in some]
    found = await asyncio.gather(*(lines.read_line(request, *place, LINES_AROUND) for place in places))
    by_version = {id(version): line for version, line in zip(some, found, strict=True)}
    return [replace(version, line=by_version.get(id(version))) for version in versions]


async def _add_frames(request: web.Request, dataset: Dataset, versions: Sequence[Version]) -> list[Version]:
    """For rows that came in a frame, and for rows that are frames."""
    stream = frames.find_stream(request.app[APP_STATE].context, dataset)
    some = [
        version for version in versions if version.standing == "visible" and (stream or "frame_index" in version.values)
    ][:MOST_RECEIPTS]
    places = [(stream.name if stream else version.load["source"], version.values) for version in some]
    found = await asyncio.gather(*(frames.read_frame(request, *place) for place in places))
    by_version = {id(version): frame for version, frame in zip(some, found, strict=True)}
    return [replace(version, frame=by_version.get(id(version))) for version in versions]
