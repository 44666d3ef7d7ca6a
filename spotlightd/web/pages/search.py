"""`/search?q=`: a symbol, a CUSIP or the beginning of a company's name. One exact hit leads straight to its page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from aiohttp import web

from spotlightd.model.dataset import Dataset
from spotlightd.query import filters, measures, values
from spotlightd.query.errors import bad
from spotlightd.web import responses
from spotlightd.web.state import APP_STATE

MOST = 50
LONGEST = 60


@dataclass(frozen=True, slots=True)
class Hit:
    symbol: str
    exact: bool
    name: str
    cusip: str
    newest: date
    days: int
    dataset: str


def reads(dataset: Dataset) -> bool:
    """Whether rows of it that are archived are searched."""
    return dataset.by_load and bool(dataset.symbol)


async def show_hits(request: web.Request) -> web.StreamResponse:
    text = " ".join(request.query.get("q", "").split())
    if len(text) > LONGEST:
        raise bad("q", f"at most {LONGEST} characters")
    as_of = filters.instant("as_of", request.query.get("as_of", ""))
    hits = await _hits(request, text, as_of) if text else []
    exact = {hit.symbol for hit in hits if hit.exact}
    if len(exact) == 1:
        raise web.HTTPSeeOther(values.address(("s", exact.pop()), as_of=request.query.get("as_of", "")))
    return responses.page(request, "search.html", {"text": text, "hits": hits[:MOST], "more": len(hits) > MOST})


async def _hits(request: web.Request, text: str, as_of: object) -> list[Hit]:
    reader = responses.reader(request)
    pin = await reader.pin(None, as_of)  # type: ignore[arg-type]
    able = measures.searched(request.app[APP_STATE].context.datasets)
    answers = await reader.all(*(measures.found(one, text, pin, MOST + 1) for one in able))
    return [
        Hit(symbol, bool(exact), name, cusip, newest, days, dataset.name)
        for dataset, answer in zip(able, answers, strict=True)
        for symbol, exact, name, cusip, newest, days in answer.rows
    ]
