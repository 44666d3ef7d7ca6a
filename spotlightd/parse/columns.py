"""The Arrow types of a dataset's columns: what goes to the warehouse as an Arrow stream, and is taken as declared.

ClickHouse reads these without a cast that could lose anything (each was tried): LowCardinality from a dictionary,
FixedString from fixed-size binary, Date from date32. A field is nullable exactly when its column is.
"""

from __future__ import annotations

import re

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
}
_UNITS = {"0": "s", "3": "ms", "6": "us", "9": "ns"}
_WRAPPED = re.compile(r"^(Nullable|LowCardinality|Array)\((.+)\)$")
_SIZED = re.compile(r"^(FixedString|Decimal|DateTime64)\((\d+)(?:, ?(\d+|'UTC'))?\)$")


def arrow(word: str) -> pa.DataType:
    """The Arrow type that the warehouse takes for a ClickHouse type. KeyError for a word that datasets may not use."""
    wrapped = _WRAPPED.match(word)
    if wrapped:
        inner = arrow(wrapped[2])
        return {"Nullable": lambda: inner, "LowCardinality": lambda: pa.dictionary(pa.int32(), inner),
                "Array": lambda: pa.list_(inner)}[wrapped[1]]()  # fmt: skip
    sized = _SIZED.match(word)
    if sized is None:
        return PLAIN[word]
    if sized[1] == "FixedString":
        return pa.binary(int(sized[2]))
    if sized[1] == "Decimal":
        return pa.decimal128(int(sized[2]), int(sized[3]))
    return pa.timestamp(_UNITS[sized[2]], "UTC")


def field(column: Column) -> pa.Field:
    return pa.field(column.name, arrow(column.type), nullable=column.nullable)


def schema(dataset: Dataset) -> pa.Schema:
    """The stored columns in insert order: the reader's, `load_id`, the pointer."""
    return pa.schema([field(column) for column in dataset.stored])


def parsed(dataset: Dataset) -> pa.Schema:
    """What a source's `parse` yields: the stored columns but for `load_id`, which is added outside of it."""
    return pa.schema([field(column) for column in (*dataset.columns, *dataset.pointer)])
