"""The rows that a derived row was computed from, as its derivation declares them: the receipt of a row in no document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spotlightd.model.dataset import Dataset
from spotlightd.model.derivation import RowsOf
from spotlightd.query.key import join_key
from spotlightd.query.reader import Reader
from spotlightd.query.select import Query
from spotlightd.query.values import format_address
from spotlightd.sql.changes import visible_rows
from spotlightd.sql.visibility import Snapshot

MOST_ROWS = 50


@dataclass(frozen=True, slots=True)
class OriginRow:
    """The key of a row, and the address of its page."""

    key: tuple[Any, ...]
    address: str


@dataclass(frozen=True, slots=True)
class Origins:
    """Rows of one dataset. `has_more`: there are more than are listed."""

    dataset: Dataset
    rows: tuple[OriginRow, ...]
    has_more: bool


async def read_origins(
    reader: Reader, declared: Sequence[RowsOf], values: Mapping[str, Any], snapshot: Snapshot, as_of: str
) -> list[Origins]:
    """What the row with these values was computed from, in the state of the snapshot."""
    return [await _read(reader, rows_of, values, snapshot, as_of) for rows_of in declared]


async def _read(reader: Reader, rows_of: RowsOf, values: Mapping[str, Any], snapshot: Snapshot, as_of: str) -> Origins:
    dataset = rows_of.dataset
    names = ", ".join(f"`{name}`" for name in dataset.key)
    sql = (
        f"SELECT {names} FROM {visible_rows(dataset, snapshot)} WHERE {rows_of.where} ORDER BY {names}"
        f" LIMIT {MOST_ROWS + 1:d}"
    )
    params = {"seq": snapshot.seq, **{name: values[name] for name in rows_of.parameters}}
    keys = (await reader.rows(Query(sql, params))).rows
    rows = tuple(
        OriginRow(key, format_address(("data", dataset.name, join_key(key)), as_of=as_of)) for key in keys[:MOST_ROWS]
    )
    return Origins(dataset, rows, len(keys) > MOST_ROWS)
