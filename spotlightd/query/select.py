"""A question becomes a SELECT: a pure function whose text is made of declared names only; every value is bound.

What `visible` says goes into each statement, so one page's queries, bound to one `seq`, see one state. No select list
has an alias that could be mistaken for a column: in ClickHouse an alias wins over the column in WHERE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from spotlightd.model.dataset import Column, Dataset
from spotlightd.query.filters import COMPARED, Condition, Question, with_page_order
from spotlightd.query.values import bound_type, element_column
from spotlightd.sql.tiers import Bound, Span
from spotlightd.sql.visibility import Snapshot, table_expression, visible_condition

FACET_ROWS = 20
LOAD = "load_id"
_BOUNDS = {"eq": (True, True), "in": (True, True), "between": (True, True), "gte": (True, False), "gt": (True, False),
           "lte": (False, True), "lt": (False, True)}  # fmt: skip
NANOSECONDS = "DateTime64(9, 'UTC')"


@dataclass(frozen=True, slots=True)
class Query:
    """A statement and the values that are bound to its `{name:Type}` places. `made` is when it was written, by a clock
    that nobody sets: it says where archived rows are, so it is not to be asked much later.
    """

    sql: str
    params: dict[str, Any] = field(default_factory=dict)
    created_at: float = field(default_factory=monotonic, compare=False)


@dataclass(slots=True)
class _Binder:
    """Hands out a place for each value, so that no value is ever written into the text."""

    params: dict[str, Any]

    def place(self, type: str, value: Any) -> str:
        name = f"p{len(self.params)}"
        self.params[name] = value
        return f"{{{name}:{type}}}"


def select_page(asked: Question, pin: Snapshot, size: int) -> Query:
    """The rows of one page, every column that can be read, and one row more than asked for if there is a next page."""
    asked, binder = with_page_order(asked), _binder(asked.dataset, pin)
    columns = ", ".join(_name(column) for column in asked.dataset.readable)
    where = _where(asked, binder)
    if asked.after:
        where = f"{where} AND {_after_cursor(asked, binder)}"
    sql = f"SELECT {columns} FROM {question_table(asked, pin)} WHERE {where} {_order(asked)} LIMIT {size + 1:d}"
    return Query(sql, binder.params)


def select_count(asked: Question, pin: Snapshot) -> Query:
    binder = _binder(asked.dataset, pin)
    return Query(f"SELECT count() FROM {question_table(asked, pin)} WHERE {_where(asked, binder)}", binder.params)


def select_facet(asked: Question, column: Column, pin: Snapshot) -> Query:
    """The commonest values of a column among the rows asked for, one more than are shown."""
    binder = _binder(asked.dataset, pin)
    sql = (
        f"SELECT {_name(column)}, count() FROM {question_table(asked, pin)} WHERE {_where(asked, binder)} "
        f"GROUP BY {_name(column)} ORDER BY count() DESC, {_name(column)} LIMIT {FACET_ROWS + 1:d}"
    )
    return Query(sql, binder.params)


def select_loads_used(asked: Question, pin: Snapshot) -> Query:
    """Which loads the rows asked for come from."""
    binder = _binder(asked.dataset, pin)
    where = _where(asked, binder)
    return Query(f"SELECT DISTINCT {LOAD} FROM {question_table(asked, pin)} WHERE {where}", binder.params)


def select_download(asked: Question, pin: Snapshot) -> Query:
    """All rows asked for, as a download: in the page's order if a page was asked for (by `_size`, or by a cursor, which
    was read against that order), else in the order on disk (which the engine reads without sorting).
    """
    binder = _binder(asked.dataset, pin)
    if asked.size or asked.after:
        asked = with_page_order(asked)
    where = _where(asked, binder)
    if asked.after:
        where = f"{where} AND {_after_cursor(asked, binder)}"
    columns = ", ".join(_name(column) for column in asked.selected)
    rows = question_table(asked, pin)
    if asked.receipt:
        columns += ", _load.document AS _document, " + ", ".join(
            f"{_name(c)} AS _{c.name}" for c in asked.dataset.pointer
        )
        rows += f" LEFT ANY JOIN ({_documents()}) AS _load ON `{asked.dataset.name}`.{LOAD} = _load.{LOAD}"
    limit = f" LIMIT {asked.size:d}" if asked.size else ""
    return Query(f"SELECT {columns} FROM {rows} WHERE {where} {_order(asked)}{limit}", binder.params)


def select_rows_of_loads(
    asked: Question, columns: Sequence[Column], loads: Sequence[tuple[int, str]], pin: Snapshot
) -> Query:
    """The rows asked for out of those (load_id, document digest), in the total order of a citation.

    That order is document, place in it, then every column: the same on any instance, whatever its load ids.
    """
    binder = _Binder({"ids": [load for load, _ in loads], "digests": [digest for _, digest in loads]})
    digest = "transform(load_id, {ids:Array(UInt64)}, {digests:Array(String)}, '')"
    place = ", ".join(_name(column) for column in asked.dataset.pointer)
    names = ", ".join(_name(column) for column in columns)
    where = " AND ".join(["load_id IN {ids:Array(UInt64)}", *(_condition(one, binder) for one in asked.conditions)])
    return Query(
        f"SELECT {names}, {digest}, {place} FROM {question_table(asked, pin)} WHERE {where} ORDER BY {digest}, {place}, {names}",
        binder.params,
    )


def question_table(asked: Question, pin: Snapshot) -> str:
    """What to read from: the rows of the table, or what the dataset is read by."""
    return table_expression(asked.dataset, pin, question_span(asked))


def question_span(asked: Question) -> Span:
    """Between which times the rows asked for lie, by column: what the archive is searched by."""
    bounds: dict[str, Bound] = {}
    for one in asked.conditions:
        if one.column.kind in ("date", "time") and one.operator in _BOUNDS:
            first, last = _BOUNDS[one.operator]
            values = sorted(datetime.fromisoformat(value).replace(tzinfo=UTC) for value in one.values)
            since, until = bounds.get(one.column.name, (None, None))
            if first:
                since = max(since or values[0], values[0])
            if last:
                until = min(until or values[-1], values[-1])
            bounds[one.column.name] = since, until
    return Span(bounds)


def _name(column: Column) -> str:
    return f"`{column.name}`"


def _documents() -> str:
    return "SELECT load_id, document FROM loads WHERE dataset = {dataset:String} AND seq <= {seq:UInt64}"


def _binder(dataset: Dataset, pin: Snapshot) -> _Binder:
    return _Binder({"dataset": dataset.name, "seq": pin.seq} if dataset.by_load else {})


def _where(asked: Question, binder: _Binder) -> str:
    parts = [f"({visible_condition(asked.dataset)})"] if asked.dataset.has_receipts else []
    if asked.document:
        digest = binder.place("String", asked.document)
        parts.append(
            f"{LOAD} IN (SELECT load_id FROM loads WHERE dataset = {{dataset:String}} AND document = {digest})"
        )
    parts.extend(_condition(one, binder) for one in asked.conditions)
    return " AND ".join(parts) or "1"


def _condition(one: Condition, binder: _Binder) -> str:
    name, operator = _name(one.column), one.operator
    if operator == "isnull":
        empty = f"isNull({name})" if one.column.is_nullable else "0"
        return f"({empty})" if one.values[0] == "1" else f"(NOT {empty})"
    if operator == "contains" and one.column.kind == "list":
        return f"has({name}, {binder.place(bound_type(element_column(one.column)), one.values[0])})"
    kind = "String" if operator in ("contains", "startswith") else bound_type(one.column)
    places = [binder.place(kind, value) for value in one.values]
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
    """One expression of an order. Empty values come last, whichever way the column is sorted."""

    expression: str
    descending: bool
    type: str
    value: str | None = None


def _terms(column: Column, value: str | None, *, descending: bool) -> list[_Term]:
    name, kind = _name(column), bound_type(column)
    if kind == NANOSECONDS:  # answers and cursors hold microseconds: compared finer, rows came twice or not at all
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


def _order(asked: Question) -> str:
    terms = [term for column, down in asked.order for term in _terms(column, None, descending=down)]
    return "ORDER BY " + ", ".join(f"{term.expression}{' DESC' if term.descending else ''}" for term in terms)


def _after_cursor(asked: Question, binder: _Binder) -> str:
    """Rows behind the cursor. The first comparison stands by itself too, for the engine to skip by."""
    pairs = zip(asked.order, asked.after, strict=True)
    terms = [term for (column, down), value in pairs for term in _terms(column, value, descending=down)]
    known = [term for term in terms if term.value is not None]
    text = ""
    for term in reversed(known):
        place = binder.place(term.type, term.value)
        beyond = f"{term.expression} {'<' if term.descending else '>'} {place}"
        text = f"({beyond} OR ({term.expression} = {place} AND {text}))" if text else f"({beyond})"
    first = known[0]
    edge = binder.place(first.type, first.value)
    return f"({first.expression} {'<=' if first.descending else '>='} {edge}) AND {text}"
