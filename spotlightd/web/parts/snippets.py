r"""Lines of code that read a table's rows without losing a value: shown under every table, and run by a test.

What readers of CSV do to values unless they are told not to: the ticker NA becomes a missing value, TRUE a truth value, a
CUSIP of digits loses its leading zeros, a number of 20 digits its last ones, and a fraction of a second disappears. In
our files a missing value is `\N`, and an empty text is an empty text. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spotlightd.model.dataset import Column
from spotlightd.query.question import Question

NULL = r"\N"
_WIDE = re.compile(r"U?Int64")


@dataclass(frozen=True, slots=True)
class Snippet:
    """`title` is the program or language that runs the code."""

    title: str
    code: str


def make_snippets(question: Question, addresses: Mapping[str, str]) -> tuple[Snippet, ...]:
    """The snippets for the rows of a question. `addresses` has the whole address of its file, by suffix."""
    name, columns = question.dataset.name, file_columns(question)
    fetch = f"curl -fo {name}.parquet '{addresses['parquet']}'"
    return (
        Snippet("curl", f"curl -fo {name}.csv '{addresses['csv']}'"),
        Snippet(
            "pandas",
            f'import pandas as pd\n\nrows = pd.read_parquet("{addresses["parquet"]}", dtype_backend="pyarrow")',
        ),
        Snippet("pandas, from CSV", _read_with_pandas(columns, addresses["csv"])),
        Snippet("DuckDB", f"-- first, in a shell: {fetch}\nSELECT * FROM '{name}.parquet';"),
        Snippet("R", _read_with_r(columns, addresses["csv"])),
    )


def file_columns(question: Question) -> dict[str, Column]:
    """The columns of the question's files, by the name that they have there."""
    columns = {column.name: column for column in question.selected}
    if question.receipt:
        columns["_document"] = Column("document", "String", "SHA-256 of the row's document")
        columns |= {f"_{column.name}": column for column in question.dataset.pointer}
    return columns


def _read_with_pandas(columns: Mapping[str, Column], address: str) -> str:
    types = {name: kind for name, column in columns.items() if (kind := _pandas_type(column))}
    missing = {name: [NULL] for name, column in columns.items() if column.is_nullable}
    times = [name for name, column in columns.items() if column.kind in ("date", "time")]
    arguments = [
        f'"{address}"',
        "keep_default_na=False",
        *([f"na_values={json.dumps(missing)}"] if missing else []),
        *([f"dtype={json.dumps(types)}"] if types else []),
        *([f"parse_dates={json.dumps(times)}"] if times else []),
    ]
    return "import pandas as pd\n\nrows = pd.read_csv(\n" + "".join(f"    {part},\n" for part in arguments) + ")"


def _pandas_type(column: Column) -> str:
    """The type that pandas would not find by itself; empty for one that it finds."""
    if column.kind in ("text", "list", "map"):
        return "str"
    if column.kind == "integer" and column.is_nullable:
        return "UInt64" if "UInt" in column.type else "Int64"
    return ""


def _read_with_r(columns: Mapping[str, Column], address: str) -> str:
    classes = {name: kind for name, column in columns.items() if (kind := _r_class(column))}
    listed = ", ".join(f"{json.dumps(name)} = {json.dumps(kind)}" for name, kind in classes.items())
    arguments: Sequence[str] = [
        f'"{address}"',
        f'na.strings = {json.dumps(NULL)}, encoding = "UTF-8", check.names = FALSE',
        *([f"colClasses = c({listed})"] if listed else []),
    ]
    return "rows <- read.csv(\n  " + ",\n  ".join(arguments) + "\n)"


def _r_class(column: Column) -> str:
    """The class that R would not find by itself. R has no integers of 64 bits: numbers that identify are read as text."""
    if column.kind in ("text", "list", "map", "time") or (_WIDE.search(column.type) and not column.unit):
        return "character"
    return {"date": "Date", "bool": "logical"}.get(column.kind, "")
