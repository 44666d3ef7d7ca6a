"""One page of a table's rows, and addresses with other parameters: what the HTML and the JSON of a table share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from spotlightd.ports.warehouse import Answer
from spotlightd.query import cursor as cursor_module
from spotlightd.query.filters import Pairs
from spotlightd.query.question import Question
from spotlightd.query.values import format_address, rfc3339
from spotlightd.sql.visibility import Snapshot


@dataclass(frozen=True, slots=True)
class RowPage:
    """The rows of a page. `cursor` is where the next page begins, empty on the last one."""

    rows: Sequence[dict[str, Any]]
    cursor: str


def cut_page(question: Question, answer: Answer, size: int) -> RowPage:
    """The first `size` rows of the answer. It has one row more when there is a next page."""
    rows = answer.dicts()
    has_more, rows = len(rows) > size, rows[:size]
    return RowPage(
        rows, cursor_module.make_cursor(cursor_module.with_page_order(question), rows[-1]) if has_more else ""
    )


def next_address(request: web.Request, page: RowPage, snapshot: Snapshot) -> str:
    """The address of the next page. It shows the same state, whatever is published while somebody pages on."""
    if not page.cursor:
        return ""
    pairs = remove_parameters(list(request.query.items()), "_next", "as_of")
    as_of = request.query.get("as_of") or (rfc3339(snapshot.at) if snapshot.at else "")
    return format_address(request.path, [*pairs, ("_next", page.cursor)], as_of=as_of)


def add_link_header(response: web.Response, next_page: str) -> web.Response:
    if next_page:
        response.headers["Link"] = f'<{next_page}>; rel="next"'
    return response


def remove_parameters(pairs: Pairs, *names: str) -> list[tuple[str, str]]:
    return [(name, text) for name, text in pairs if name not in names]


def replace_parameter(pairs: Pairs, name: str, text: str) -> list[tuple[str, str]]:
    """The pairs with a new value of one parameter. The page starts again at its first row."""
    return [*remove_parameters(pairs, name, "_next"), (name, text)]
