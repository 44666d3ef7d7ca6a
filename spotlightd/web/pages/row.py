"""`/data/{dataset}/{key}`: one row, where it comes from to the line or the frame, and what was published of it before."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from spotlightd.model.dataset import Column, Dataset
from spotlightd.query import filters as ask
from spotlightd.query import key, records
from spotlightd.query.errors import missing
from spotlightd.query.filters import Question
from spotlightd.query.reader import Reader
from spotlightd.query.select import Query
from spotlightd.query.values import address, bound_type
from spotlightd.sql.visibility import Snapshot
from spotlightd.web import responses
from spotlightd.web.pages import document as lines
from spotlightd.web.pages import frame as frames
from spotlightd.web.pages.document import Shown
from spotlightd.web.pages.frame import Found
from spotlightd.web.state import APP_STATE
from spotlightd.web.symbol import minutes

AROUND = 2
MOST_LINES = 3


@dataclass(frozen=True, slots=True)
class Version:
    """The row as one load has it. `load` and `document` are records (empty for datasets that come from no document);
    `standing` is `visible`, `earlier` or `later` than the pinned publication; `ended` is the load that superseded it.
    """

    values: Mapping[str, Any]
    load: Mapping[str, Any]
    document: Mapping[str, Any]
    standing: str
    ended: Mapping[str, Any] | None = None
    changed: tuple[Column, ...] = ()
    pointed: Shown | None = None
    framed: Found | None = None

    @property
    def source_address(self) -> str:
        """Where it leads back to: a line of a document, or a frame. Empty for what was computed from other rows."""
        if "frame_index" in self.values:
            return frames.address(self.load["source"], self.values)
        if "line" in self.values:
            place = {"member": self.values["member"], "line": self.values["line"]}
            return address(f"/source/{self.load['document']}", place)
        return ""


async def show_row(request: web.Request) -> web.StreamResponse:
    dataset = responses.dataset(request, request.match_info["name"])
    segment = request.match_info["key"]
    wants_json = segment.endswith(".json")
    values = key.split(dataset, segment.removesuffix(".json"))
    reader = responses.reader(request)
    asked = ask.read(dataset, [(name, text) for name, text in request.query.items() if name == "as_of"])
    pin = await reader.pin(dataset, asked.as_of) if dataset.by_load else reader.now()
    mark = responses.etag(request, pin) if dataset.by_load and not dataset.grows else ""
    if mark and responses.unchanged(request, mark):
        return responses.not_modified(mark)
    found = await _versions(reader, dataset, values, pin)
    if not any(one.standing != "later" for one in found):
        raise _no_row(asked, segment, pin)
    if wants_json:
        return responses.document(request, _as_json(dataset, found, pin, _rests_on(request, dataset, found)), etag=mark)
    filters = list(
        zip(dataset.key, (show_text(dataset, n, v) for n, v in zip(dataset.key, values, strict=True)), strict=True)
    )
    page = {
        "dataset": dataset,
        "pin": pin,
        "segment": segment,
        "title": " · ".join(value or "(empty)" for value in values),
        "filters": filters,
        "streamed": frames.streamed(dataset),
        "rests_on": _rests_on(request, dataset, found),
        "stream": frames.source_of(request.app[APP_STATE].context, dataset),
        **_split(await _framed(request, dataset, await _pointed(request, found))),
    }
    return responses.page(request, "row.html", page, etag=mark)


def _rests_on(request: web.Request, dataset: Dataset, found: Sequence[Version]) -> str:
    """Where the rows are that a computed one was made of; empty for one that has a receipt of its own."""
    if not dataset.made_of:
        return ""
    as_of = request.query.get("as_of", "")
    return address(("data", dataset.made_of), minutes.trades_of(found[-1].values), as_of=as_of)


async def _pointed(request: web.Request, found: Sequence[Version]) -> list[Version]:
    """The visible ones with the very line that they rest on: the receipt itself, on the page of the number."""
    some = [one for one in found if one.standing == "visible" and one.load and "line" in one.values][:MOST_LINES]
    places = [(one.load["document"], one.values["member"], one.values["line"]) for one in some]
    shown = await asyncio.gather(*(lines.shown(request, *place, AROUND) for place in places))
    seen = {id(one): line for one, line in zip(some, shown, strict=True)}
    return [replace(one, pointed=seen.get(id(one))) for one in found]


async def _framed(request: web.Request, dataset: Dataset, found: Sequence[Version]) -> list[Version]:
    """The visible ones with the frame that they came in, or that they are."""
    own = frames.source_of(request.app[APP_STATE].context, dataset)
    some = [one for one in found if one.standing == "visible" and (own or "frame_index" in one.values)][:MOST_LINES]
    places = [(own.name if own else one.load["source"], one.values) for one in some]
    shown = await asyncio.gather(*(frames.found(request, *place) for place in places))
    seen = {id(one): frame for one, frame in zip(some, shown, strict=True)}
    return [replace(one, framed=seen.get(id(one))) for one in found]


def show_text(dataset: Dataset, name: str, value: str) -> str:
    """A bound value as the address of a filter has it."""
    return value.replace(" ", "T") + "Z" if dataset.column(name).kind == "time" else value


def _no_row(asked: Question, segment: str, pin: Snapshot) -> Exception:
    when = f" as of {asked.as_of:%Y-%m-%d %H:%M:%S} UTC" if asked.as_of else ""
    remedy = "Look for it in the table." if pin.seq or not asked.dataset.by_load else "Nothing was published by then."
    return missing(f"{asked.dataset.name} has no row {segment!r}{when}.", remedy)


def _split(found: Sequence[Version]) -> dict[str, Any]:
    standing = {kind: [one for one in found if one.standing == kind] for kind in ("visible", "earlier", "later")}
    return {**standing, "earlier": standing["earlier"][::-1]}


async def _versions(reader: Reader, dataset: Dataset, values: Sequence[str], pin: Snapshot) -> list[Version]:
    """All that was ever published under the key, oldest first, each with its load and document."""
    types = [bound_type(dataset.column(name)) for name in dataset.key]
    rows = (await reader.rows(records.versions(dataset, values, types, pin))).dicts()
    if not dataset.receipted or not rows:
        return [Version(row, {}, {}, "visible") for row in rows]
    known = (await reader.rows(records.loads_of(dataset, sorted({row["load_id"] for row in rows})))).dicts()
    loads = {load["load_id"]: load for load in known}
    ended = {gone: load for load in reversed(known) for gone in load["supersedes"]}
    documents = await _documents(reader, {loads[row["load_id"]]["document"] for row in rows})
    rows.sort(key=lambda row: loads[row["load_id"]]["seq"])
    found = [_version(row, loads, ended, documents, pin) for row in rows]
    return [_compared(one, found, dataset) for one in found]


def _version(
    row: dict[str, Any], loads: dict[int, Any], ended: dict[int, Any], documents: dict[str, Any], pin: Snapshot
) -> Version:
    load, end = loads[row["load_id"]], ended.get(row["load_id"])
    gone = end is not None and end["seq"] <= pin.seq
    standing = "later" if load["seq"] > pin.seq else "earlier" if gone else "visible"
    return Version(row, load, documents.get(load["document"], {}), standing, end)


def _compared(one: Version, found: Sequence[Version], dataset: Dataset) -> Version:
    """The version with the columns in which it differs from the visible row, if there is exactly one of these."""
    now = [other for other in found if other.standing == "visible"]
    if len(now) != 1 or one.standing == "visible":
        return one
    changed = tuple(c for c in dataset.columns if one.values[c.name] != now[0].values[c.name])
    return Version(one.values, one.load, one.document, one.standing, one.ended, changed)


async def _documents(reader: Reader, digests: set[str]) -> dict[str, Any]:
    """Our records of those documents: the first time that each was fetched."""
    places = ", ".join(f"{{d{at}:String}}" for at in range(len(digests)))
    sql = f"SELECT digest, size, source, url, via, fetched_at, last_modified FROM documents WHERE digest IN ({places}) ORDER BY id DESC"
    answer = await reader.rows(Query(sql, {f"d{at}": digest for at, digest in enumerate(sorted(digests))}))
    return {row["digest"]: row for row in answer.dicts()}


def _as_json(dataset: Dataset, found: Sequence[Version], pin: Snapshot, rests_on: str) -> dict[str, Any]:
    def told(one: Version) -> dict[str, Any]:
        fields = {c.name: {"value": one.values[c.name], "unit": c.unit, "meaning": c.meaning} for c in dataset.columns}
        if not one.load:
            return {"fields": fields, **({"computed_from": rests_on} if rests_on else {})}
        place = {column.name: one.values[column.name] for column in dataset.pointer}
        if "line" in place:
            place |= {"url": one.document.get("url"), "via": one.document.get("via"),
                      "fetched_at": one.document.get("fetched_at")}  # fmt: skip
        receipt = {
            "document": one.load["document"], **place, "source": one.load["source"], "parser": one.load["parser"],
            "published_at": one.load["published_at"],
        }  # fmt: skip
        if one.source_address:
            receipt["line" if "line" in place else "frame"] = one.source_address
        return {"fields": fields, "receipt": receipt, "standing": one.standing}

    shown = [told(one) for one in found if one.standing != "later"]
    return {"dataset": dataset.name, "as_of": pin.at, "rows": shown}
