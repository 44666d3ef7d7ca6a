"""Turns a question into a SELECT: pure, with text from declared names only; every value is bound.

Each statement has the condition of visibility, so the queries of one page, bound to one `seq`, see one state. No select
list has an alias that could be mistaken for a column: in ClickHouse an alias wins over the column in WHERE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from spotlightd.model.dataset import Column, Dataset
from spotlightd.query.cursor import with_page_order
from spotlightd.query.filters import COMPARED
from spotlightd.query.question import Condition, Question
from spotlightd.query.values import bound_type, element_column
from spotlightd.sql.tiers import Bound, Span
from spotlightd.sql.visibility import Snapshot, table_expression, visible_condition

FACET_ROWS = 20
LOAD = "load_id"
_BOUNDS = {"eq": (True, True), "in": (True, True), "between": (True, True), "gte": (True, False), "gt": (True, False),
           "lte": (False, True), "lt": (False, True)}  # fmt: skip
NANOSECONDS = "DateTime64(9, 'UTC')"
FORMULA = r"'^[=+\\-@\\t\\r]'"
"""A literal of the engine: the beginning of a cell that a spreadsheet takes for a formula."""


@dataclass(frozen=True, slots=True)
class Query:
    """A statement and the values of its `{name:Type}` parameters. `created_at` is when it was built, on the monotonic
    clock: the statement contains the places of archived rows, so it must not be run much later.
    """

    sql: str
    params: dict[str, Any] = field(default_factory=dict)
    created_at: float = field(default_factory=monotonic, compare=False)


@dataclass(slots=True)
class _Binder:
    """Creates a parameter for each value, so that no value is ever part of the text."""

    params: dict[str, Any]

    def add(self, type: str, value: Any) -> str:
        name = f"p{len(self.params)}"
        self.params[name] = value
        return f"{{{name}:{type}}}"


def select_page(question: Question, snapshot: Snapshot, size: int) -> Query:
    """The rows of one page with every readable column, and one row more if there is a next page."""
    question, binder = with_page_order(question), _binder(question.dataset, snapshot)
    columns = ", ".join(column.select_item for column in question.read)
    where = _where(question, binder)
    if question.after:
        where = f"{where} AND {_after_cursor(question, binder)}"
    sql = f"SELECT {columns} FROM {question_table(question, snapshot)} WHERE {where} {_order(question)} LIMIT {size + 1:d}"
    return Query(sql, binder.params)


def select_count(question: Question, snapshot: Snapshot) -> Query:
    binder = _binder(question.dataset, snapshot)
    return Query(
        f"SELECT count() FROM {question_table(question, snapshot)} WHERE {_where(question, binder)}", binder.params
    )


def select_facet(question: Question, column: Column, snapshot: Snapshot) -> Query:
    """The most frequent values of a column in the requested rows, one more than are displayed."""
    binder = _binder(question.dataset, snapshot)
    sql = (
        f"SELECT {column.expression}, count() FROM {question_table(question, snapshot)} WHERE {_where(question, binder)} "
        f"GROUP BY {column.expression} ORDER BY count() DESC, {column.expression} LIMIT {FACET_ROWS + 1:d}"
    )
    return Query(sql, binder.params)


def select_aggregates(question: Question, snapshot: Snapshot, items: Sequence[str], tail: str = "") -> Query:
    """These expressions over the requested rows. `tail` follows the conditions: groups, order, limit. The text is a page's."""
    binder = _binder(question.dataset, snapshot)
    where = _where(question, binder)
    sql = f"SELECT {', '.join(items)} FROM {question_table(question, snapshot)} WHERE {where} {tail}"
    return Query(sql.rstrip(), binder.params)


def select_loads_used(question: Question, snapshot: Snapshot) -> Query:
    """The loads that the requested rows come from."""
    binder = _binder(question.dataset, snapshot)
    where = _where(question, binder)
    return Query(f"SELECT DISTINCT {LOAD} FROM {question_table(question, snapshot)} WHERE {where}", binder.params)


def select_download(question: Question, snapshot: Snapshot) -> Query:
    """All requested rows, for a download. They have the order of a page if a page was requested (by `_size`, or by a
    cursor, which depends on that order), else the order on disk, which the engine reads without sorting.
    """
    binder = _binder(question.dataset, snapshot)
    if question.size or question.after:
        question = with_page_order(question)
    where = _where(question, binder)
    if question.after:
        where = f"{where} AND {_after_cursor(question, binder)}"
    columns = ", ".join(_file_item(column, is_safe=question.is_safe) for column in question.selected)
    rows = question_table(question, snapshot)
    if question.receipt:
        columns += ", _load.document AS _document, " + ", ".join(
            f"{column.expression} AS _{column.name}" for column in question.dataset.pointer
        )
        rows += f" LEFT ANY JOIN ({_documents()}) AS _load ON `{question.dataset.name}`.{LOAD} = _load.{LOAD}"
    limit = f" LIMIT {question.size:d}" if question.size else ""
    return Query(f"SELECT {columns} FROM {rows} WHERE {where} {_order(question)}{limit}", binder.params)


def select_rows_of_loads(
    question: Question, columns: Sequence[Column], loads: Sequence[tuple[int, str]], snapshot: Snapshot
) -> Query:
    """The requested rows of these loads (load_id, document digest), in the total order of a citation.

    That order is document, place in it, then every column: equal on every instance, whatever its load ids.
    """
    binder = _Binder({"ids": [load for load, _ in loads], "digests": [digest for _, digest in loads]})
    digest = "transform(load_id, {ids:Array(UInt64)}, {digests:Array(String)}, '')"
    place = ", ".join(column.expression for column in question.dataset.pointer)
    names = ", ".join(column.expression for column in columns)
    where = " AND ".join(
        ["load_id IN {ids:Array(UInt64)}", *(_condition(condition, binder) for condition in question.conditions)]
    )
    return Query(
        f"SELECT {names}, {digest}, {place} FROM {question_table(question, snapshot)} WHERE {where} ORDER BY {digest}, {place}, {names}",
        binder.params,
    )


def question_table(question: Question, snapshot: Snapshot) -> str:
    """The text after FROM for the question."""
    return table_expression(question.dataset, snapshot, question_span(question))


def question_span(question: Question) -> Span:
    """The times of the requested rows, by column. They select the archived partitions to read."""
    bounds: dict[str, Bound] = {}
    for condition in question.conditions:
        if condition.column.kind in ("date", "time") and condition.operator in _BOUNDS:
            has_lower, has_upper = _BOUNDS[condition.operator]
            values = sorted(datetime.fromisoformat(value).replace(tzinfo=UTC) for value in condition.values)
            since, until = bounds.get(condition.column.name, (None, None))
            if has_lower:
                since = max(since or values[0], values[0])
            if has_upper:
                until = min(until or values[-1], values[-1])
            bounds[condition.column.name] = since, until
    return Span(bounds)


def _file_item(column: Column, *, is_safe: bool) -> str:
    """The column in the select list of a file: without the zero bytes that fill a text of fixed length, and if it must be
    safe with a quote before each text that a spreadsheet would take for a formula. In conditions and orders its name means
    the column itself: OUTPUTS has the setting for that.
    """
    text = column.expression
    if "FixedString" in column.type:
        text = f"trimRight(toString({text}), '\\0')"
    if is_safe and column.kind == "text" and "UUID" not in column.type:
        text = f"if(match(toString({text}), {FORMULA}), concat('\\'', {text}), {text})"
    return f"{text} AS `{column.name}`" if text != column.expression else column.select_item


def _documents() -> str:
    return "SELECT load_id, document FROM loads WHERE dataset = {dataset:String} AND seq <= {seq:UInt64}"


def _binder(dataset: Dataset, snapshot: Snapshot) -> _Binder:
    return _Binder({"dataset": dataset.name, "seq": snapshot.seq} if dataset.by_load else {})


def _where(question: Question, binder: _Binder) -> str:
    parts = [f"({visible_condition(question.dataset)})"] if question.dataset.has_receipts else []
    if question.document:
        digest = binder.add("String", question.document)
        parts.append(
            f"{LOAD} IN (SELECT load_id FROM loads WHERE dataset = {{dataset:String}} AND document = {digest})"
        )
    parts.extend(_condition(condition, binder) for condition in question.conditions)
    return " AND ".join(parts) or "1"


def _condition(condition: Condition, binder: _Binder) -> str:
    column, operator, values = condition.column, condition.operator, condition.values
    name = column.expression
    if operator == "isnull":
        empty = f"isNull({name})" if column.is_nullable else "0"
        return f"({empty})" if values[0] == "1" else f"(NOT {empty})"
    if operator == "contains" and column.kind == "map":
        return f"mapContains({name}, {binder.add('String', values[0])})"
    if operator == "contains" and column.kind == "list":
        return f"has({name}, {binder.add(bound_type(element_column(column)), values[0])})"
    kind = "String" if operator in ("contains", "startswith") else bound_type(column)
    if operator == "startswith" and "UUID" in column.type:
        name = f"toString({name})"
    places = [binder.add(kind, value) for value in values]
    return _comparison(name, operator, places)


def _comparison(name: str, operator: str, places: list[str]) -> str:
    if operator in COMPARED:
        return f"({name} {COMPARED[operator]} {places[0]})"
    if operator == "in":
        return f"({name} IN ({', '.join(places)}))"
    if operator == "between":
        return f"({name} BETWEEN {places[0]} AND {places[1]})"
    if operator == "contains":
        return f"(positionCaseInsensitiveUTF8(toString({name}), {places[0]}) > 0)"
    if operator == "startswith":
        return f"startsWith({name}, {places[0]})"
    return f"({name} = {places[0]})" if operator == "eq" else f"(NOT ifNull({name} = {places[0]}, false))"


@dataclass(frozen=True, slots=True)
class _Term:
    """One expression of an order. Empty values come last in both directions."""

    expression: str
    descending: bool
    type: str
    value: str | None = None


def _terms(column: Column, value: str | None, *, descending: bool) -> list[_Term]:
    name, kind = column.expression, bound_type(column)
    if (
        kind == NANOSECONDS
    ):  # answers and cursors have microseconds: with finer comparisons rows came twice or not at all
        name, kind = f"toDateTime64({name}, 6, 'UTC')", "DateTime64(6, 'UTC')"
    if column.kind == "float":
        flag = f"ifNull(isNaN({name}), 1)"
        return [
            _Term(flag, False, "UInt8", "1" if value is None else "0"),
            _Term(f"if({flag}, 0., ifNull({name}, 0.))", descending, kind, value or "0"),
        ]
    if not column.is_nullable:
        return [_Term(name, descending, kind, value)]
    flagged = _Term(f"isNull({name})", False, "UInt8", "1" if value is None else "0")
    return [flagged, _Term(name, descending, kind, value)]


def _order(question: Question) -> str:
    terms = [term for column, down in question.order for term in _terms(column, None, descending=down)]
    return "ORDER BY " + ", ".join(f"{term.expression}{' DESC' if term.descending else ''}" for term in terms)


def _after_cursor(question: Question, binder: _Binder) -> str:
    """The condition of rows after the cursor. The first comparison is repeated alone, so that the engine can skip blocks."""
    pairs = zip(question.order, question.after, strict=True)
    terms = [term for (column, down), value in pairs for term in _terms(column, value, descending=down)]
    known = [term for term in terms if term.value is not None]
    text = ""
    for term in reversed(known):
        place = binder.add(term.type, term.value)
        beyond = f"{term.expression} {'<' if term.descending else '>'} {place}"
        text = f"({beyond} OR ({term.expression} = {place} AND {text}))" if text else f"({beyond})"
    first = known[0]
    edge = binder.add(first.type, first.value)
    return f"({first.expression} {'<=' if first.descending else '>='} {edge}) AND {text}"
