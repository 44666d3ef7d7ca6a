"""A table as an HTML page: rows, filters in words, counts, and links to sort, filter, download and page on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from spotlightd.errors import StoreError
from spotlightd.model.dataset import Column, Dataset
from spotlightd.ports.warehouse import Answer
from spotlightd.query import cursor, filters, select
from spotlightd.query import question as question_module
from spotlightd.query.filters import Pairs
from spotlightd.query.key import join_key
from spotlightd.query.outputs import OUTPUTS
from spotlightd.query.question import Question
from spotlightd.query.values import format_address, to_text
from spotlightd.sql.visibility import Snapshot
from spotlightd.web import formatting, responses
from spotlightd.web.parts.row_pages import add_link_header, cut_page, next_address, remove_parameters, replace_parameter
from spotlightd.web.parts.snippets import make_snippets

OPERATOR_TEXTS = {
    "eq": "=", "ne": "≠", "gte": "≥", "gt": ">", "lte": "≤", "lt": "<", "in": "is one of", "between": "between",
    "contains": "contains", "startswith": "starts with", "isnull": "is empty",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chip:
    """An active filter in words, and the address without it."""

    text: str
    remove_address: str


@dataclass(frozen=True, slots=True)
class FacetValue:
    value: Any
    rows: int
    address: str


@dataclass(frozen=True, slots=True)
class Facet:
    """Rows counted by the values of a column. `has_more`: there are more values than these. `problem`: why there are none."""

    column: Column
    values: Sequence[FacetValue] = ()
    has_more: bool = False
    problem: str = ""


async def render_table(
    request: web.Request, question: Question, snapshot: Snapshot, pairs: Pairs, etag: str
) -> web.Response:
    size = question.size or filters.DEFAULT_SIZE
    queries = [select.select_page(question, snapshot, size), select.select_count(question, snapshot)]
    rows, count = await responses.get_reader(request).all(*queries)
    facets = [await _read_facet(request, question, column, snapshot, pairs) for column in question.facets]
    page = cut_page(question, rows, size)
    next_page = next_address(request, page, snapshot)
    values = {
        "dataset": question.dataset,
        "question": cursor.with_page_order(question),
        "snapshot": snapshot,
        "columns": question.selected,
        "rows": page.rows,
        "key_of": lambda row: join_key([row[name] for name in question.dataset.key]),
        "total": count.rows[0][0],
        "size": size,
        "facets": facets,
        "next_page": next_page,
        "chips": _make_chips(request, question, pairs),
        **_link_values(request, question, pairs),
    }
    page_etag = "" if any(facet.problem for facet in facets) else etag  # the next visit counts again
    return add_link_header(responses.render_page(request, "data.html", values, etag=page_etag), next_page)


def _link_values(request: web.Request, question: Question, pairs: Pairs) -> dict[str, Any]:
    """The values for the filter form, the headings and the links of the page."""
    dataset = question.dataset
    downloads = {suffix: _download_address(dataset, suffix, pairs) for suffix in OUTPUTS}
    origin = f"{request.scheme}://{request.host}"
    return {
        "operators": OPERATOR_TEXTS,
        "parameters": remove_parameters(pairs, "_next"),
        "downloads": downloads,
        "safe_csv": _download_address(dataset, "csv", replace_parameter(pairs, "_safe", "1")),
        "snippets": make_snippets(question, {suffix: origin + address for suffix, address in downloads.items()}),
        "facet_columns": [column for column in dataset.columns if column.kind in ("text", "bool", "date")],
        "sort_address": lambda column: _sort_address(request, question, column, pairs),
        "facet_address": lambda column: format_address(request.path, replace_parameter(pairs, "_facet", column.name)),
    }


def _sort_address(request: web.Request, question: Question, column: Column, pairs: Pairs) -> str:
    """The link of a column's heading: sort by it, largest first, then the other way round."""
    current = cursor.with_page_order(question)
    is_descending = current.sort == column and current.descending
    others = remove_parameters(pairs, "_sort", "_sort_desc", "_next")
    return format_address(request.path, [*others, ("_sort" if is_descending else "_sort_desc", column.name)])


def _download_address(dataset: Dataset, suffix: str, pairs: Pairs) -> str:
    return format_address(f"/data/{dataset.name}.{suffix}", remove_parameters(pairs, "_next", "_size", "_facet"))


def _make_chips(request: web.Request, question: Question, pairs: Pairs) -> list[Chip]:
    chips = []
    filter_pairs = [(name, text) for name, text in pairs if name not in filters.RESERVED_PARAMETERS]
    for filter_pair, condition in zip(filter_pairs, question.conditions, strict=True):
        others = [pair for pair in pairs if pair != filter_pair and pair[0] != "_next"]
        chips.append(Chip(_describe_condition(condition), format_address(request.path, others)))
    if question.document:
        others = remove_parameters(pairs, "_document", "_next")
        chips.append(Chip(f"from document {question.document[:12]}…", format_address(request.path, others)))
    return chips


def _describe_condition(condition: question_module.Condition) -> str:
    name = condition.column.name
    if condition.operator == "isnull":
        return f"{name} is {'empty' if condition.values[0] == '1' else 'not empty'}"
    separator = " and " if condition.operator == "between" else ", "
    values = formatting.show_controls(separator.join(condition.values)) or "(nothing)"
    return f"{name} {OPERATOR_TEXTS[condition.operator]} {values}"


async def _read_facet(
    request: web.Request, question: Question, column: Column, snapshot: Snapshot, pairs: Pairs
) -> Facet:
    """The counts of a column. They read every requested row, so they may exceed the limits of a page where its rows do not:
    then the page has its rows, and a sentence instead of the counts.
    """
    try:
        answer = await responses.get_reader(request).rows(select.select_facet(question, column, snapshot))
    except StoreError as problem:
        if not (problem.slow and problem.code):
            raise
        return Facet(
            column, problem=f"Counting these rows exceeds the limits of a page: {problem}. Narrow them with a filter."
        )
    return _make_facet(column, answer, pairs)


def _make_facet(column: Column, answer: Answer, pairs: Pairs) -> Facet:
    values = [
        FacetValue(value, rows, _value_address(column, value, pairs))
        for value, rows in answer.rows[: select.FACET_ROWS]
    ]
    return Facet(column, values, len(answer.rows) > select.FACET_ROWS)


def _value_address(column: Column, value: Any, pairs: Pairs) -> str:
    """The address of the rows with that value only."""
    text = to_text(value)
    name = f"{column.name}__isnull" if text is None else column.name
    return format_address("", replace_parameter(pairs, name, "1" if text is None else text))
