"""`/cite?address=…&as_of=…`: the citation of an address of this explorer, as a small file."""

from __future__ import annotations

from aiohttp import web

from spotlightd.ports.warehouse import Limits
from spotlightd.query import citation, filters, verify
from spotlightd.query.citation import Library
from spotlightd.query.errors import bad_parameter
from spotlightd.web import formatting, responses
from spotlightd.web.routes import Route
from spotlightd.web.state import APP_STATE


async def show_citation(request: web.Request) -> web.StreamResponse:
    if unknown := [name for name in request.query if name not in ("address", "as_of")]:
        raise bad_parameter(unknown[0], "there is no such parameter", "Use address= and as_of=.")
    address = request.query.get("address", "")
    if not address:
        raise bad_parameter(
            "address", "is missing", "Give the address to cite, as in /cite?address=/data/sec_ftd?symbol=GME."
        )
    as_of = filters.parse_as_of("as_of", request.query.get("as_of", ""))
    async with responses.whole_turn(request):
        cited = await verify.cite(make_library(request), address, as_of)
    responses.note_archive_answer(request)
    response = responses.json_response(request, citation.to_json(cited))
    name = formatting.make_file_name(cited.address.removeprefix("/data/"))
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.citation.json"'
    return response


def make_library(request: web.Request) -> Library:
    """What a citation needs, with the limits of downloads: a citation reads as much as a download."""
    context, limits = request.app[APP_STATE].context, request.app[APP_STATE].context.settings
    bounds = Limits(limits.download_seconds, limits.download_rows, limits.query_memory_bytes)
    return Library(context.warehouse, context.datasets, bounds, responses.get_reader(request).archives)


ROUTES = (Route("/cite", show_citation),)
