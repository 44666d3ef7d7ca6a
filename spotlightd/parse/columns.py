"""The Arrow types of a dataset's columns, in which rows go to the warehouse.

ClickHouse reads these types without a cast that could lose anything (each was tried): LowCardinality from a dictionary,
FixedString from fixed-size binary, Date from date32. A field is nullable exactly when its column is.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

import pyarrow as pa

from spotlightd.model.dataset import Column, Dataset

PLAIN: dict[str, pa.DataType] = {
    "UInt8": pa.uint8(),
    "UInt16": pa.uint16(),
    "UInt32": pa.uint32(),
    "UInt64": pa.uint64(),
    "Int8": pa.int8(),
    "Int16": pa.int16(),
    "Int32": pa.int32(),
    "Int64": pa.int64(),
    "Float64": pa.float64(),
    "String": pa.string(),
    "Date": pa.date32(),
    "UUID": pa.string(),
    "Bool": pa.bool_(),
    "Map(LowCardinality(String), String)": pa.map_(pa.dictionary(pa.int32(), pa.string()), pa.string()),
}
_UNITS = {"0": "s", "3": "ms", "6": "us", "9": "ns"}
_WRAPPED = re.compile(r"^(Nullable|LowCardinality|Array)\((.+)\)$")
_SIZED = re.compile(r"^(FixedString|Decimal|DateTime64)\((\d+)(?:, ?(\d+|'UTC'))?\)$")


@cache
def arrow_type(clickhouse_type: str) -> pa.DataType:
    """The Arrow type for a ClickHouse type. KeyError for a type that datasets may not use."""
    wrapped = _WRAPPED.match(clickhouse_type)
    if wrapped:
        inner = arrow_type(wrapped[2])
        return {"Nullable": lambda: inner, "LowCardinality": lambda: pa.dictionary(pa.int32(), inner),
                "Array": lambda: pa.list_(inner)}[wrapped[1]]()  # fmt: skip
    sized = _SIZED.match(clickhouse_type)
    if sized is None:
        return PLAIN[clickhouse_type]
    if sized[1] == "FixedString":
        return pa.binary(int(sized[2]))
    if sized[1] == "Decimal":
        return pa.decimal128(int(sized[2]), int(sized[3]))
    return pa.timestamp(_UNITS[sized[2]], "UTC")


def arrow_field(column: Column) -> pa.Field:
    return pa.field(column.name, arrow_type(column.type), nullable=column.is_nullable)


def stored_schema(dataset: Dataset) -> pa.Schema:
    """The stored columns in insert order: the reader's columns, `load_id`, the pointer."""
    return pa.schema([arrow_field(column) for column in dataset.stored])


@lru_cache(64)  # it takes 0.2 ms for 80 columns, and each document asks for it
def parsed_schema(dataset: Dataset) -> pa.Schema:
    """The columns that a source's `parse` yields: the stored columns without `load_id`, which is added later."""
    return pa.schema([arrow_field(column) for column in (*dataset.columns, *dataset.pointer)])
