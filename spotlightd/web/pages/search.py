"""`/search?q=`: a symbol in any spelling, a CUSIP or the beginning of a company's name. A single exact hit redirects to its
page.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from aiohttp import web

from spotlightd.model.dataset import Dataset
from spotlightd.query import filters, measures, values
from spotlightd.query.errors import bad_parameter
from spotlightd.query.search import matches
from spotlightd.query.search.spelling import Patterns, read_search
from spotlightd.turns import HEAVY
from spotlightd.web import degraded, responses
from spotlightd.web.routes import Route
from spotlightd.web.state import APP_STATE, KIND

MOST_HITS = 50
MOST_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Hit:
    """A security that matches. `is_exact`: the text is the symbol, in some spelling, or the CUSIP."""

    symbol: str
    is_exact: bool
    name: str
    cusip: str
    newest: date
    days: int
    dataset: Dataset

    @property
    def address(self) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
        """The page of its symbol; without one the rows of its CUSIP. As path and conditions."""
        if self.symbol:
            return ("s", self.symbol), ()
        column = measures.find_measure(self.dataset).cusip
        return ("data", self.dataset.name), ((column.name, self.cusip),) if column else ()


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
    exact = {hit.address for hit in hits if hit.is_exact and hit.symbol} or {
        hit.address for hit in hits if hit.is_exact
    }
    if len(exact) == 1:
        path, conditions = exact.pop()
        raise web.HTTPSeeOther(values.format_address(path, conditions, as_of=request.query.get("as_of", "")))
    page = {"text": text, "hits": hits[:MOST_HITS], "has_more": len(hits) > MOST_HITS}
    return responses.render_page(request, "search.html", page)


async def _find_hits(request: web.Request, patterns: Patterns, as_of: datetime | None) -> list[Hit]:
    reader = responses.get_reader(request)
    snapshot = await reader.snapshot(None, as_of)
    datasets = measures.searchable_datasets(request.app[APP_STATE].context.datasets)
    answers = await reader.all(
        *(matches.matching_securities(dataset, patterns, snapshot, MOST_HITS + 1) for dataset in datasets)
    )
    return [
        Hit(symbol, bool(is_exact), name, cusip, newest, days, dataset)
        for dataset, answer in zip(datasets, answers, strict=True)
        for symbol, is_exact, name, cusip, newest, days in answer.rows
    ]


ROUTES = (Route("/search", degraded.with_fallback(show_hits, reads_archived)),)
