"""Tables that come with a statement: a file of the request's form is a temporary table, as in ClickHouse. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from spotlightd.engine.errors import SYNTAX, failure
from spotlightd.engine.statements.tokens import Token, read_tokens

_PARTS = ("format", "types", "structure")


@dataclass(frozen=True, slots=True)
class ExternalTable:
    """A table's name, its columns as in CREATE TABLE, and its rows as data of a format."""

    name: str
    columns: str
    format: str
    data: bytes


def take_external_tables(parameters: dict[str, str], files: Mapping[str, bytes]) -> tuple[ExternalTable, ...]:
    """The tables of these files. Their parameters (`name_format`, `name_types`, `name_structure`) are removed, because all
    that stay are settings. StatementError for a file without columns.
    """
    tables = []
    for name, data in files.items():
        form, types, structure = (parameters.pop(f"{name}_{part}", "") for part in _PARTS)
        columns = structure or ", ".join(f"_{number} {kind}" for number, kind in enumerate(_split(types), 1))
        _check_columns(name, columns)
        tables.append(ExternalTable(name, columns, form or "TabSeparated", data))
    return tuple(tables)


def _check_columns(name: str, columns: str) -> None:
    """The columns stand in the brackets of a CREATE TABLE, and must not close them."""
    tokens = list(read_tokens(columns))
    if not tokens:
        raise failure(
            SYNTAX, f"The table {name[:100]} has no columns: give {name[:100]}_structure or {name[:100]}_types"
        )
    if not _is_balanced(tokens) or any(token.kind == "end" for token in tokens):
        raise failure(SYNTAX, f"The columns of the table {name[:100]} are not a list of names and types")


def _is_balanced(tokens: list[Token]) -> bool:
    opened = sum(token.kind == "open" for token in tokens) - sum(token.kind == "close" for token in tokens)
    return opened == 0 and all(token.depth >= 0 for token in tokens)


def _split(types: str) -> list[str]:
    """The types between the commas that stand outside of brackets."""
    commas = [token.start for token in read_tokens(types) if token.text == "," and token.depth == 0]
    bounds = [-1, *commas, len(types)]
    return [types[start + 1 : end].strip() for start, end in pairwise(bounds) if types.strip()]
