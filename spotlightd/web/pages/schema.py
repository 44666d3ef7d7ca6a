"""`/data/{dataset}/schema.json`: a dataset for machines: columns with types, units and meanings, key, rhythm, notes."""

from __future__ import annotations

from aiohttp import web

from spotlightd.query import filters
from spotlightd.query.outputs import OUTPUTS
from spotlightd.web import responses
from spotlightd.web.routes import NAME, Route


async def show_schema(request: web.Request) -> web.Response:
    dataset = responses.find_dataset(request, request.match_info["name"])
    columns = [
        {
            "name": column.name, "type": column.type, "kind": column.kind, "nullable": column.is_nullable,
            "unit": column.unit, "meaning": column.meaning,
            "filters": [operator for operator, kinds in filters.OPERATORS.items() if column.kind in kinds],
        }
        for column in dataset.columns
    ]  # fmt: skip
    return responses.json_response(request, {
        "name": dataset.name, "title": dataset.title, "publisher": dataset.publisher, "about": dataset.about,
        "notes": list(dataset.notes), "licence": dataset.licence, "rhythm": dataset.rhythm.description,
        "key": list(dataset.key), "time": dataset.time, "symbol": dataset.symbol or None, "columns": columns,
        "formats": {suffix: f"/data/{dataset.name}.{suffix}" for suffix in OUTPUTS},
    })  # fmt: skip


ROUTES = (Route(rf"/data/{NAME}/schema.json", show_schema),)
