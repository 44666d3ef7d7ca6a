"""What a reader asks of a dataset, read from the parameters of an address. Pure; `select` makes SQL of it.

Conventions (they are an interface, as permalinks live long): `column=value`, `column__gte=`, `_sort`, `_sort_desc`,
`_size`, `_next`, `_cols`, `_facet`, `_document`, `_receipt`, `as_of`. Names that begin with `_` are ours; all others
are columns of the dataset.
"""

from __future__ import annotations

import base64
import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from spotlightd.model.dataset import Column, Dataset, Kind
from spotlightd.query.errors import HttpProblem, bad_parameter
from spotlightd.query.values import canonical, element_column, parse_moment, to_text

Pairs = Sequence[tuple[str, str]]

_ORDERED: tuple[Kind, ...] = ("text", "integer", "decimal", "float", "date", "time")
COMPARED = {"gte": ">=", "gt": ">", "lte": "<=", "lt": "<"}
OPERATORS: dict[str, tuple[Kind, ...]] = {
    "eq": (*_ORDERED, "bool"),
    "ne": (*_ORDERED, "bool"),
    **dict.fromkeys(COMPARED, _ORDERED),
    "in": (*_ORDERED, "bool"),
    "between": _ORDERED,
    "contains": ("text", "list"),
    "startswith": ("text",),
    "isnull": (*_ORDERED, "bool"),
}
RESERVED_PARAMETERS = ("_sort", "_sort_desc", "_size", "_next", "_cols", "_facet", "_document", "_receipt", "as_of")
MOST_VALUES = 100
MOST_CONDITIONS = 30
MOST_FACETS = 4
DEFAULT_SIZE = 100


@dataclass(frozen=True, slots=True)
class Condition:
    """`values` are canonical texts: one, or two for `between`, or some for `in`; for `isnull` `1` or `0`."""

    column: Column
    operator: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """One question to one dataset. `size` 0: the address did not say. `after`: the order's values of the last row seen."""

    dataset: Dataset
    conditions: tuple[Condition, ...] = ()
    document: str = ""
    sort: Column | None = None
    descending: bool = False
    size: int = 0
    after: tuple[str | None, ...] = ()
    columns: tuple[Column, ...] = ()
    facets: tuple[Column, ...] = ()
    receipt: bool = False
    as_of: datetime | None = None

    @property
    def selected(self) -> tuple[Column, ...]:
        return self.columns or self.dataset.columns

    @property
    def order(self) -> tuple[tuple[Column, bool], ...]:
        """Columns and directions of a total order: what was asked for, how rows lie on disk, where they stand."""
        dataset = self.dataset
        placed = dataset.has_receipts
        tie = (*dataset.pointer, dataset.column("load_id")) if placed else map(dataset.column, dataset.key)
        rest = [*map(dataset.column, dataset.order), *tie]
        first = [(self.sort, self.descending)] if self.sort else []
        seen = {self.sort.name} if self.sort else set()
        unique = {column.name: column for column in rest if column.name not in seen and column.kind != "list"}
        return (*first, *((column, False) for column in unique.values()))


def parse_question(dataset: Dataset, pairs: Pairs, *, most: int = 0) -> Question:
    """The question that an address asks. `most` bounds `_size` (0: no bound). HttpProblem(400) names the parameter."""
    ours: dict[str, str] = {}
    conditions: list[Condition] = []
    for name, text in pairs:
        if name in RESERVED_PARAMETERS:
            ours[name] = _merge_parameter(ours, name, text)
        else:
            conditions.append(_condition(dataset, name, text))
    if len(conditions) > MOST_CONDITIONS:
        raise bad_parameter(conditions[-1].column.name, f"at most {MOST_CONDITIONS} filters at a time")
    if "_sort" in ours and "_sort_desc" in ours:
        raise bad_parameter("_sort_desc", "sort by one column only, either way")
    asked = Question(
        dataset,
        conditions=tuple(conditions),
        document=_document(dataset, ours.get("_document", "")),
        sort=_sort(dataset, ours),
        descending="_sort_desc" in ours,
        size=_size(ours.get("_size", ""), most),
        columns=_columns(dataset, "_cols", ours.get("_cols", "")),
        facets=_facets(dataset, ours.get("_facet", "")),
        receipt=_receipt(dataset, ours.get("_receipt", "")),
        as_of=_as_of(dataset, ours.get("as_of", "")),
    )
    return _after(asked, ours.get("_next", ""))


def _merge_parameter(seen: dict[str, str], name: str, text: str) -> str:
    if name not in seen:
        return text
    if name in ("_facet", "_cols"):
        return f"{seen[name]},{text}"
    raise bad_parameter(name, "given twice")


def find_column(dataset: Dataset, parameter: str, name: str) -> Column:
    """The reader's column of that name, or one of the row's place in its document. 400 names the nearest."""
    open_to_readers = (*dataset.columns, *(dataset.pointer if dataset.has_receipts else ()))
    for column in open_to_readers:
        if column.name == name:
            return column
    near = difflib.get_close_matches(name, [c.name for c in open_to_readers], n=1)
    raise bad_parameter(
        parameter, f"{dataset.name} has no column {name!r}" + (f"; did you mean {near[0]}?" if near else ""),
        f"Its columns are listed at /data/{dataset.name}/schema.json.",
    )  # fmt: skip


def _condition(dataset: Dataset, parameter: str, text: str) -> Condition:
    if parameter.startswith("_"):
        near = difflib.get_close_matches(parameter, RESERVED_PARAMETERS, n=1)
        raise bad_parameter(parameter, "there is no such parameter" + (f"; did you mean {near[0]}?" if near else ""))
    name, mark, operator = parameter.partition("__")
    column = find_column(dataset, parameter, name)
    operator = operator if mark else "eq"
    if column.kind not in OPERATORS.get(operator, ()):
        fitting = ", ".join(word for word, kinds in OPERATORS.items() if column.kind in kinds)
        raise bad_parameter(
            parameter, f"{operator!r} is no way to filter {name}", f"{name} can be filtered by {fitting}."
        )
    try:
        return Condition(column, operator, _values(column, operator, text))
    except ValueError as problem:
        raise bad_parameter(parameter, str(problem)) from None


def _values(column: Column, operator: str, text: str) -> tuple[str, ...]:
    if operator == "isnull":
        if text not in ("0", "1"):
            raise ValueError("write 1 for empty, 0 for not empty")
        return (text,)
    if operator in ("contains", "startswith"):
        plain = element_column(column) if column.kind == "list" else Column(column.name, "String", column.meaning)
        return (canonical(plain, text),)
    if operator not in ("in", "between"):
        return (canonical(column, text),)
    parts = text.split(",")
    if operator == "between" and len(parts) != 2:  # noqa: PLR2004
        raise ValueError("write two values with a comma between them, the lower first")
    if len(parts) > MOST_VALUES:
        raise ValueError(f"at most {MOST_VALUES} values")
    return tuple(canonical(column, part) for part in parts)


def _sort(dataset: Dataset, ours: dict[str, str]) -> Column | None:
    for parameter in ("_sort", "_sort_desc"):
        if parameter in ours:
            column = find_column(dataset, parameter, ours[parameter])
            if column.kind == "list":
                raise bad_parameter(parameter, f"{column.name} is a list and has no order")
            return column
    return None


def _size(text: str, most: int) -> int:
    if not text:
        return 0
    if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) == 0:
        raise bad_parameter("_size", f"{text!r} is not a number of rows")
    if most and int(text) > most:
        raise bad_parameter(
            "_size", f"a page has at most {most:,} rows", "Download the rows (.csv, .parquet), or page with _next."
        )
    return int(text)


def _columns(dataset: Dataset, parameter: str, text: str) -> tuple[Column, ...]:
    names = dict.fromkeys(name for name in text.split(",") if name)
    return tuple(find_column(dataset, parameter, name) for name in names)


def _facets(dataset: Dataset, text: str) -> tuple[Column, ...]:
    columns = _columns(dataset, "_facet", text)
    if len(columns) > MOST_FACETS:
        raise bad_parameter("_facet", f"at most {MOST_FACETS} columns at a time")
    if lists := [column.name for column in columns if column.kind == "list"]:
        raise bad_parameter("_facet", f"{lists[0]} is a list and cannot be counted")
    return columns


def _document(dataset: Dataset, text: str) -> str:
    if text and not dataset.has_receipts:
        raise bad_parameter("_document", _without_receipt(dataset))
    if text and not re.fullmatch(r"[0-9a-f]{64}", text):
        raise bad_parameter("_document", "write the 64 hexadecimal digits of a document's SHA-256")
    return text


def _receipt(dataset: Dataset, text: str) -> bool:
    if text not in ("", "0", "1"):
        raise bad_parameter("_receipt", "write 1 for the columns of each row's place in its document, 0 for without")
    if text == "1" and not dataset.has_receipts:
        raise bad_parameter("_receipt", _without_receipt(dataset))
    return text == "1"


def _without_receipt(dataset: Dataset) -> str:
    if dataset.reading:
        return f"{dataset.name} is computed from other rows: look for receipts there"
    return f"{dataset.name} is a record of this instance and comes from no document"


def _as_of(dataset: Dataset, text: str) -> datetime | None:
    if text and not dataset.by_load:
        raise bad_parameter("as_of", f"{dataset.name} is a record of this instance and has no earlier states")
    return parse_as_of("as_of", text)


def parse_as_of(parameter: str, text: str) -> datetime | None:
    """The moment up to which publications count: a time, or the end of a day (UTC). 400 when it is neither."""
    try:
        return parse_moment(text.replace(" ", "+"), end_of_day=True) if text else None
    except ValueError as problem:
        raise bad_parameter(parameter, str(problem)) from None


def make_cursor(asked: Question, row: dict[str, Any]) -> str:
    """Where the next page begins: after that row, in that order."""
    values = [to_text(row[column.name]) for column, _ in asked.order]
    raw = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _after(asked: Question, text: str) -> Question:
    """The question with its cursor read against its order: a cursor made for another order is refused."""
    if not text:
        return asked
    wrong = bad_parameter("_next", "is not a mark that this page gave out", "Begin again without _next.")
    try:
        values = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, RecursionError):
        raise wrong from None
    order = with_page_order(asked).order
    if not isinstance(values, list) or len(values) != len(order):
        raise wrong
    try:
        return replace(
            asked,
            after=tuple(_cursor_value(column, value, wrong) for (column, _), value in zip(order, values, strict=True)),
        )
    except ValueError:
        raise wrong from None


def _cursor_value(column: Column, value: object, wrong: HttpProblem) -> str | None:
    if value is None and (column.is_nullable or column.kind == "float"):
        return None
    if not isinstance(value, str):
        raise wrong
    return canonical(column, value)


def with_page_order(asked: Question) -> Question:
    """The question with the order of its page: newest first unless it says otherwise."""
    if asked.sort:
        return asked
    return replace(asked, sort=asked.dataset.column(asked.dataset.time), descending=True)


def fold_filter_form(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]] | None:
    """The address that a filter form means, or None when the parameters are not a form's.

    A form without script can only send fixed names: `_filter_column`, `_filter_op` and `_filter_value` become one
    filter, and boxes that were left empty are dropped.
    """
    given = list(pairs)
    form = {name: text for name, text in given if name.startswith("_filter_")}
    if not form:
        return None
    kept = [(name, text) for name, text in given if name not in form and not (name in RESERVED_PARAMETERS and not text)]
    column, operator = form.get("_filter_column", ""), form.get("_filter_op", "eq")
    if column:
        kept.append((column if operator == "eq" else f"{column}__{operator}", form.get("_filter_value", "")))
    return [(name, text) for name, text in kept if name != "_next"]
