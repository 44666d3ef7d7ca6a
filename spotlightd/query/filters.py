"""Questions to a dataset, parsed from the parameters of an address. Pure; `select` turns a question into SQL.

Conventions (they are an interface, because permalinks live long): `column=value`, `column__gte=`, `_sort`,
`_sort_desc`, `_size`, `_next`, `_cols`, `_facet`, `_document`, `_receipt`, `_safe`, `as_of`. Names that start with `_` are
reserved; all others are columns of the dataset.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from spotlightd.model.dataset import Column, Dataset, Kind
from spotlightd.query.cursor import apply_cursor
from spotlightd.query.errors import bad_parameter
from spotlightd.query.question import Condition, Question
from spotlightd.query.values import canonical, element_column, parse_moment

Pairs = Sequence[tuple[str, str]]

_ORDERED: tuple[Kind, ...] = ("text", "integer", "decimal", "float", "date", "time")
COMPARED = {"gte": ">=", "gt": ">", "lte": "<=", "lt": "<"}
OPERATORS: dict[str, tuple[Kind, ...]] = {
    "eq": (*_ORDERED, "bool"),
    "ne": (*_ORDERED, "bool"),
    **dict.fromkeys(COMPARED, _ORDERED),
    "in": (*_ORDERED, "bool"),
    "between": _ORDERED,
    "contains": ("text", "list", "map"),
    "startswith": ("text",),
    "isnull": (*_ORDERED, "bool"),
}
RESERVED_PARAMETERS = (
    "_sort", "_sort_desc", "_size", "_next", "_cols", "_facet", "_document", "_receipt", "_safe", "as_of",
)  # fmt: skip
MOST_VALUES = 100
MOST_CONDITIONS = 30
MOST_FACETS = 4
DEFAULT_SIZE = 100


def parse_question(dataset: Dataset, pairs: Pairs, *, most: int = 0) -> Question:
    """The question of an address. `most` limits `_size` (0: no limit). HttpProblem(400) names the wrong parameter."""
    reserved: dict[str, str] = {}
    conditions: list[Condition] = []
    for name, text in pairs:
        if name in RESERVED_PARAMETERS:
            reserved[name] = _merge_parameter(reserved, name, text)
        else:
            conditions.append(_condition(dataset, name, text))
    if len(conditions) > MOST_CONDITIONS:
        raise bad_parameter(conditions[-1].column.name, f"at most {MOST_CONDITIONS} filters at a time")
    if "_sort" in reserved and "_sort_desc" in reserved:
        raise bad_parameter("_sort_desc", "sort by one column only, either way")
    question = Question(
        dataset,
        conditions=tuple(conditions),
        document=_document(dataset, reserved.get("_document", "")),
        sort=_sort(dataset, reserved),
        descending="_sort_desc" in reserved,
        size=_size(reserved.get("_size", ""), most),
        columns=_columns(dataset, "_cols", reserved.get("_cols", "")),
        facets=_facets(dataset, reserved.get("_facet", "")),
        receipt=_receipt(dataset, reserved.get("_receipt", "")),
        is_safe=_is_safe(reserved.get("_safe", "")),
        as_of=_as_of(dataset, reserved.get("as_of", "")),
    )
    return apply_cursor(question, reserved.get("_next", ""))


def _merge_parameter(reserved: dict[str, str], name: str, text: str) -> str:
    if name not in reserved:
        return text
    if name in ("_facet", "_cols"):
        return f"{reserved[name]},{text}"
    raise bad_parameter(name, "given twice")


def find_column(dataset: Dataset, parameter: str, name: str) -> Column:
    """The reader's column of that name, a computed one, or a column of the row's place. 400 with the most similar name."""
    columns = {column.name: column for column in (*dataset.columns, *dataset.derived)}
    if dataset.has_receipts:
        columns |= {column.name: column for column in dataset.pointer}
    if name in columns:
        return columns[name]
    near = difflib.get_close_matches(name, columns, n=1)
    raise bad_parameter(
        parameter, f"{dataset.name} has no column {name!r}" + (f"; did you mean {near[0]}?" if near else ""),
        f"Its columns are listed at /data/{dataset.name}/schema.json.",
    )  # fmt: skip


def _condition(dataset: Dataset, parameter: str, text: str) -> Condition:
    if parameter.startswith("_"):
        near = difflib.get_close_matches(parameter, RESERVED_PARAMETERS, n=1)
        raise bad_parameter(parameter, "there is no such parameter" + (f"; did you mean {near[0]}?" if near else ""))
    name, separator, operator = parameter.partition("__")
    column = find_column(dataset, parameter, name)
    operator = operator if separator else "eq"
    if column.kind not in OPERATORS.get(operator, ()):
        fitting = ", ".join(operator for operator, kinds in OPERATORS.items() if column.kind in kinds)
        raise bad_parameter(parameter, f"{operator!r} cannot filter {name}", f"{name} can be filtered by {fitting}.")
    try:
        return Condition(column, operator, _values(column, operator, text))
    except ValueError as error:
        raise bad_parameter(parameter, str(error)) from None


def _values(column: Column, operator: str, text: str) -> tuple[str, ...]:
    if operator == "isnull":
        if text not in ("0", "1"):
            raise ValueError("write 1 for empty, 0 for not empty")
        return (text,)
    if operator in ("contains", "startswith"):
        plain = (
            element_column(column) if column.kind in ("list", "map") else Column(column.name, "String", column.meaning)
        )
        return (canonical(plain, text),)
    if operator not in ("in", "between"):
        return (canonical(column, text),)
    parts = text.split(",")
    if operator == "between" and len(parts) != 2:  # noqa: PLR2004
        raise ValueError("write two values with a comma between them, the lower first")
    if len(parts) > MOST_VALUES:
        raise ValueError(f"at most {MOST_VALUES} values")
    return tuple(canonical(column, part) for part in parts)


def _sort(dataset: Dataset, reserved: dict[str, str]) -> Column | None:
    for parameter in ("_sort", "_sort_desc"):
        if parameter in reserved:
            column = find_column(dataset, parameter, reserved[parameter])
            if column.kind in ("list", "map"):
                raise bad_parameter(parameter, f"{column.name} is a {column.kind} and has no order")
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
    if lists := [column for column in columns if column.kind in ("list", "map")]:
        raise bad_parameter("_facet", f"{lists[0].name} is a {lists[0].kind} and cannot be counted")
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


def _is_safe(text: str) -> bool:
    if text not in ("", "0", "1"):
        raise bad_parameter("_safe", "write 1 for a .csv that a spreadsheet can open safely, 0 for the exact one")
    return text == "1"


def _without_receipt(dataset: Dataset) -> str:
    if dataset.reading:
        computed_from = f" ({dataset.computed_from})" if dataset.computed_from else ""
        return (
            f"{dataset.name} is computed from other rows{computed_from} and has no documents: look for receipts there"
        )
    return f"{dataset.name} is a record of this instance and comes from no document"


def _as_of(dataset: Dataset, text: str) -> datetime | None:
    if text and not dataset.by_load:
        raise bad_parameter("as_of", f"{dataset.name} is a record of this instance and has no earlier states")
    return parse_as_of("as_of", text)


def parse_as_of(parameter: str, text: str) -> datetime | None:
    """The time up to which publications count: a time, or the end of a day (UTC). 400 when the text is neither."""
    try:
        return parse_moment(text.replace(" ", "+"), end_of_day=True) if text else None
    except ValueError as error:
        raise bad_parameter(parameter, str(error)) from None


def fold_filter_form(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]] | None:
    """The parameters that a submitted filter form stands for, or None when the parameters are not those of a form.

    A form without script can only send fixed names: `_filter_column`, `_filter_op` and `_filter_value` become one
    filter, and empty fields are dropped.
    """
    submitted = list(pairs)
    form = {name: text for name, text in submitted if name.startswith("_filter_")}
    if not form:
        return None
    address = [
        (name, text) for name, text in submitted if name not in form and not (name in RESERVED_PARAMETERS and not text)
    ]
    column, operator = form.get("_filter_column", ""), form.get("_filter_op", "eq")
    if column:
        address.append((column if operator == "eq" else f"{column}__{operator}", form.get("_filter_value", "")))
    return [(name, text) for name, text in address if name != "_next"]
