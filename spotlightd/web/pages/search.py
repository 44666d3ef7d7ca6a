"""`/search?q=`: a symbol in any spelling, a CUSIP or the beginning of a company's name. A single exact hit redirects to its
page.
"""

from __future__ import annotations

from datetime import datetime

from aiohttp import web

from spotlightd.model.dataset import Dataset
from spotlightd.query import filters, measures, values
from spotlightd.query.errors import bad_parameter
from spotlightd.query.search import matches
from spotlightd.query.search.hits import Hit, make_hits
from spotlightd.query.search.spelling import Patterns, read_search
from spotlightd.turns import HEAVY
from spotlightd.web import degraded, responses
from spotlightd.web.routes import Route
from spotlightd.web.state import APP_STATE, KIND

MOST_HITS = 50
MOST_CHARACTERS = 60


Address = tuple[tuple[str, ...], tuple[tuple[str, str], ...]]
"""A path and conditions."""


def reads_archived(dataset: Dataset) -> bool:
    """Whether archived rows of the dataset are searched."""
    return dataset.by_load and bool(dataset.symbol)


async def show_hits(request: web.Request) -> web.StreamResponse:
    request[KIND] = HEAVY
    text = " ".join(request.query.get("q", "").split())
    if len(text) > MOST_CHARACTERS:
        raise bad_parameter("q", f"at most {MOST_CHARACTERS} characters")
    as_of = filters.parse_as_of("as_of", request.query.get("as_of", ""))
    patterns = read_search(text)
    hits = await _find_hits(request, patterns, as_of) if patterns else []
    addresses = {hit: _address(request, hit) for hit in hits}
    exact = {addresses[hit] for hit in hits if hit.is_exact and hit.symbol} or {
        addresses[hit] for hit in hits if hit.is_exact
    }
    if len(exact) == 1:
        path, conditions = exact.pop()
        raise web.HTTPSeeOther(values.format_address(path, conditions, as_of=request.query.get("as_of", "")))
    page = {"text": text, "hits": hits[:MOST_HITS], "addresses": addresses, "has_more": len(hits) > MOST_HITS}
    return responses.render_page(request, "search.html", page)


async def _find_hits(request: web.Request, patterns: Patterns, as_of: datetime | None) -> list[Hit]:
    reader = responses.get_reader(request)
    snapshot = await reader.snapshot(None, as_of)
    datasets = request.app[APP_STATE].context.datasets
    answers = await reader.all(*matches.select_matches(datasets, patterns, snapshot, MOST_HITS + 1))
    return make_hits((row for answer in answers for row in answer.rows), matches.joined_datasets(snapshot))


def _address(request: web.Request, hit: Hit) -> Address:
    """The page of its symbol; without one the rows of its CUSIP."""
    if hit.symbol:
        return ("s", hit.symbol), ()
    known = {dataset.name: dataset for dataset in request.app[APP_STATE].context.datasets}
    for name in hit.datasets:
        column = measures.find_measure(known[name]).cusip if name in known else None
        if column and hit.cusips:
            return ("data", name), ((column.name, hit.cusips[-1]),)
    return ("data", hit.datasets[0]), ()


ROUTES = (Route("/search", degraded.with_fallback(show_hits, reads_archived)),)
