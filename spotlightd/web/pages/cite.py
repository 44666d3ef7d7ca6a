"""`/cite?address=…&as_of=…`: the citation of an address of ours, as a small file."""

from __future__ import annotations

from aiohttp import web

from spotlightd.ports.warehouse import Limits
from spotlightd.query import citation, filters, verify
from spotlightd.query.citation import Library
from spotlightd.query.errors import bad
from spotlightd.web import formatting, responses
from spotlightd.web.state import APP_STATE


async def show_citation(request: web.Request) -> web.StreamResponse:
    if unknown := [name for name in request.query if name not in ("address", "as_of")]:
        raise bad(unknown[0], "there is no such parameter", "Use address= and as_of=.")
    address = request.query.get("address", "")
    if not address:
        raise bad(
            "address", "is missing", "Write the address to be cited, as in /cite?address=/data/sec_ftd?symbol=GME."
        )
    as_of = filters.instant("as_of", request.query.get("as_of", ""))
    cited = await verify.cite(library(request), address, as_of)
    responses.archive_answered(request)
    answer = responses.document(request, citation.to_json(cited))
    name = formatting.file_name(cited.address.removeprefix("/data/"))
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}.citation.json"'
    return answer


def library(request: web.Request) -> Library:
    """What citing needs, with the limits of downloads: it reads as much as one."""
    context, limits = request.app[APP_STATE].context, request.app[APP_STATE].context.settings
    bounds = Limits(limits.download_seconds, limits.download_rows, limits.query_memory_bytes)
    return Library(context.warehouse, context.datasets, bounds, responses.reader(request).archives)
