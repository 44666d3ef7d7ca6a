"""`/data/{dataset}/{key}`: one row, the line or frame that it came from, and earlier versions of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from spotlightd.model.dataset import Dataset
from spotlightd.query import filters, key
from spotlightd.query.errors import not_found
from spotlightd.query.question import Question
from spotlightd.query.values import format_address
from spotlightd.sql.visibility import Snapshot
from spotlightd.web import responses
from spotlightd.web.parts import frames, versions
from spotlightd.web.parts.origins import Origins, read_origins
from spotlightd.web.parts.versions import Version
from spotlightd.web.routes import NAME, Route
from spotlightd.web.state import APP_STATE
from spotlightd.web.symbol import minutes


async def show_row(request: web.Request) -> web.StreamResponse:
    dataset = responses.find_dataset(request, request.match_info["name"])
    segment = request.match_info["key"]
    wants_json = segment.endswith(".json")
    values = key.split_key(dataset, segment.removesuffix(".json"))
    reader = responses.get_reader(request)
    as_of_pairs = [(name, text) for name, text in request.query.items() if name == "as_of"]
    question = filters.parse_question(dataset, as_of_pairs)
    snapshot = await reader.snapshot(dataset, question.as_of) if dataset.by_load else reader.current()
    etag = responses.make_etag(request, snapshot) if dataset.by_load and not dataset.is_growing else ""
    if etag and responses.is_unchanged(request, etag):
        return responses.not_modified_response(etag)
    row_versions = await versions.read_versions(reader, dataset, values, snapshot)
    if not any(version.standing != "later" for version in row_versions):
        raise _no_such_row(question, segment, snapshot)
    inputs = _inputs_address(request, dataset, row_versions)
    origins = await _read_origins(request, dataset, row_versions, snapshot)
    if wants_json:
        document = _to_json(dataset, row_versions, snapshot, inputs) | _origins_to_json(origins)
        return responses.json_response(request, document, etag=etag)
    row_versions = await versions.add_receipts(request, dataset, row_versions)
    filter_texts = (_filter_text(dataset, name, value) for name, value in zip(dataset.key, values, strict=True))
    page = {
        "dataset": dataset,
        "snapshot": snapshot,
        "segment": segment,
        "title": " · ".join(value or "(empty)" for value in values),
        "filters": list(zip(dataset.key, filter_texts, strict=True)),
        "is_streamed": frames.is_streamed(dataset),
        "inputs": inputs,
        "origins": origins,
        "stream": frames.find_stream(request.app[APP_STATE].context, dataset),
        **_group_by_standing(row_versions),
    }
    return responses.render_page(request, "row.html", page, etag=etag)


def _inputs_address(request: web.Request, dataset: Dataset, row_versions: Sequence[Version]) -> str:
    """The rows that a computed row was computed from. Empty for a row that has its own receipt."""
    if not dataset.computed_from:
        return ""
    as_of = request.query.get("as_of", "")
    values = row_versions[-1].values
    if dataset.is_growing:
        pairs = minutes.trade_filters(values)
    else:
        known = {column.name for column in responses.find_dataset(request, dataset.computed_from).columns}
        pairs = [(name, str(values[name])) for name in dataset.key if name in known]
    return format_address(("data", dataset.computed_from), pairs, as_of=as_of)


async def _read_origins(
    request: web.Request, dataset: Dataset, row_versions: Sequence[Version], snapshot: Snapshot
) -> list[Origins]:
    """What a derived row was computed from; of a row that is not visible, nothing."""
    declared = request.app[APP_STATE].context.origins.get(dataset.name, ())
    visible = [version.values for version in row_versions if version.standing == "visible"]
    if not declared or not visible:
        return []
    as_of = request.query.get("as_of", "")
    return await read_origins(responses.get_reader(request), declared, visible[0], snapshot, as_of)


def _origins_to_json(origins: Sequence[Origins]) -> dict[str, Any]:
    rows = {item.dataset.name: [row.address for row in item.rows] for item in origins}
    return {"computed_from_rows": rows} if rows else {}


def _filter_text(dataset: Dataset, name: str, value: str) -> str:
    """A bound value as the text of a filter in an address."""
    return value.replace(" ", "T") + "Z" if dataset.column(name).kind == "time" else value


def _no_such_row(question: Question, segment: str, snapshot: Snapshot) -> Exception:
    when = f" as of {question.as_of:%Y-%m-%d %H:%M:%S} UTC" if question.as_of else ""
    was_published = snapshot.seq or not question.dataset.by_load
    remedy = "Look for it in the table." if was_published else "Nothing was published by then."
    return not_found(f"{question.dataset.name} has no row {segment!r}{when}.", remedy)


def _group_by_standing(row_versions: Sequence[Version]) -> dict[str, Any]:
    groups = {
        standing: [version for version in row_versions if version.standing == standing]
        for standing in ("visible", "earlier", "later")
    }
    return {**groups, "earlier": groups["earlier"][::-1]}


def _to_json(dataset: Dataset, row_versions: Sequence[Version], snapshot: Snapshot, inputs: str) -> dict[str, Any]:
    rows = [_version_to_json(dataset, version, inputs) for version in row_versions if version.standing != "later"]
    return {"dataset": dataset.name, "as_of": snapshot.at, "rows": rows}


def _version_to_json(dataset: Dataset, version: Version, inputs: str) -> dict[str, Any]:
    fields = {
        column.name: {"value": version.values[column.name], "unit": column.unit, "meaning": column.meaning}
        for column in dataset.columns
    }
    if not version.load:
        return {"fields": fields, **({"computed_from": inputs} if inputs else {})}
    return {"fields": fields, "receipt": _receipt_to_json(dataset, version), "standing": version.standing}


def _receipt_to_json(dataset: Dataset, version: Version) -> Mapping[str, Any]:
    place = {column.name: version.values[column.name] for column in dataset.pointer}
    is_line = "line" in place
    if is_line:
        place |= {name: version.document.get(name) for name in ("url", "via", "fetched_at")}
    receipt = {
        "document": version.load["document"], **place, "source": version.load["source"],
        "parser": version.load["parser"], "published_at": version.load["published_at"],
    }  # fmt: skip
    if version.source_address:
        receipt["line" if is_line else "frame"] = version.source_address
    return receipt


ROUTES = (Route(f"/data/{NAME}/{{key}}", show_row),)
