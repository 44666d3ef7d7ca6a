"""The fingerprint of a Parquet file, by Arrow and numpy: the same numbers that sql/fingerprint.py has the engine
compute.

The file is read by row group, a few thousand rows at a time, two groups at once. Texts in a dictionary are hashed once
per entry. Where the writer gave up the dictionary, nearly all texts differ, and each is hashed by itself. The checksums
of pages are verified on the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from functools import partial, reduce
from itertools import islice
from operator import add
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from spotlightd.errors import FormatError
from spotlightd.model.archive import Fingerprint
from spotlightd.model.dataset import Column
from spotlightd.parse.columns import PLAIN
from spotlightd.sql.fingerprint import DECIMAL_DIGITS, Shape, shape_of
from spotlightd.workers.verifying.row_hash import HashCache, Hasher

BATCH_ROWS = 32_768
MINIMUM_ROWS = 256
BATCH_BYTES = 8 << 20
BUFFER_BYTES = 1 << 20
_PLAIN: dict[str, pa.DataType] = {**PLAIN, "UUID": pa.binary(16)}
_UNITS = {3: "ms", 6: "us", 9: "ns"}


def fingerprint_file(path: Path, columns: Sequence[Column], time: str, pool: Executor | None = None) -> Fingerprint:
    """The fingerprint of a file with exactly these columns. FormatError when it has others, or cannot be read.

    Threads of the pool read a group of rows each; without one the groups are read one after the other.
    """
    try:
        with pq.ParquetFile(path) as file:
            _check(file, columns)
            metadata = file.metadata
        return _fingerprint_groups(path, metadata, Hasher(columns, time), pool)
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError) as problem:
        raise FormatError(f"{path.name} cannot be read as Parquet: {problem}") from None


def arrow_type(shape: Shape) -> pa.DataType:
    """The Arrow type of the values that the engine writes for a column of this shape."""
    sql_type = shape.scalar
    if sql_type.startswith("DateTime64"):
        return pa.timestamp(_UNITS[shape.unit], "UTC")
    if sql_type.startswith("FixedString"):
        return pa.binary(int(sql_type[12:-1]))
    if sql_type.startswith("Decimal"):
        digits, scale = (int(part) for part in sql_type[8:-1].split(","))
        return pa.decimal128(digits, scale) if digits <= DECIMAL_DIGITS[2] else pa.decimal256(digits, scale)
    return _PLAIN[sql_type]


def _check(file: pq.ParquetFile, columns: Sequence[Column]) -> None:
    """FormatError unless the file has exactly these columns, in this order and of these types."""
    schema = file.schema.to_arrow_schema()
    declared = [column.name for column in columns]
    if schema.names != declared:
        differences = sorted(set(schema.names) ^ set(declared)) or ["their order"]
        raise FormatError(f"the file's columns are not the declared ones: {', '.join(differences)}")
    leaves = map(file.schema.column, range(len(file.schema)))
    for index, column in enumerate(columns):
        shape, field = shape_of(column), schema.field(index)
        if not _is_expected(field.type, shape) or field.nullable != shape.nullable:
            empty = ", with empty values" if field.nullable else ""
            raise FormatError(f"column {column.name} is {field.type}{empty} in the file, declared as {column.type}")
        for leaf in islice(leaves, 2 if shape.mapped else 1):
            if leaf.length != _value_width(shape) or (leaf.logical_type.type == "UUID") is not (shape.scalar == "UUID"):
                raise FormatError(f"column {column.name} is not stored in the file as a {column.type}: {leaf}")


def _is_expected(kind: pa.DataType, shape: Shape) -> bool:
    """Whether it is the Arrow type in which the engine's values of that shape are read. The names of a map's parts are free."""
    value = arrow_type(shape)
    if shape.mapped:
        parts = (kind.key_field, kind.item_field) if pa.types.is_map(kind) else ()
        return bool(parts) and not any(part.nullable or part.type != value for part in parts)
    return bool(kind == (pa.list_(pa.field("element", value, nullable=False)) if shape.listed else value))


def _value_width(shape: Shape) -> int:
    """The length of a value in the file in bytes, 0 when it varies."""
    if shape.scalar.startswith("Decimal"):
        return next(4 << step for step, digits in enumerate(DECIMAL_DIGITS) if shape.digits <= digits)
    value = arrow_type(shape)
    return int(value.byte_width) if pa.types.is_fixed_size_binary(value) else 0


def _fingerprint_groups(path: Path, metadata: pq.FileMetaData, hasher: Hasher, pool: Executor | None) -> Fingerprint:
    read_group = partial(_fingerprint_group, path, metadata, hasher)
    groups = (pool.map if pool else map)(read_group, range(metadata.num_row_groups))
    total = reduce(add, groups, Fingerprint())
    if total.rows != metadata.num_rows:
        raise FormatError(f"the footer of {path.name} counts {metadata.num_rows} rows, and it has {total.rows}")
    return hasher.to_column_ticks(total)


def _fingerprint_group(path: Path, metadata: pq.FileMetaData, hasher: Hasher, group: int) -> Fingerprint:
    part = metadata.row_group(group)
    chunks = [part.column(index) for index in range(part.num_columns)]
    dictionary_columns = [chunk.path_in_schema for chunk in chunks if chunk.has_dictionary_page]
    file = pq.ParquetFile(
        path,
        metadata=metadata,
        read_dictionary=dictionary_columns,
        buffer_size=BUFFER_BYTES,
        pre_buffer=False,
        page_checksum_verification=True,
    )
    with file:
        return reduce(add, _fingerprint_batches(file, part, group, hasher), Fingerprint())


def _fingerprint_batches(
    file: pq.ParquetFile, part: pq.RowGroupMetaData, group: int, hasher: Hasher
) -> Iterator[Fingerprint]:
    row_bytes = part.total_byte_size // max(part.num_rows, 1) + 1
    rows = max(MINIMUM_ROWS, min(BATCH_ROWS, BATCH_BYTES // row_bytes))
    cache = HashCache()
    for batch in file.iter_batches(rows, row_groups=[group], use_threads=False):
        yield hasher.fingerprint(batch, cache)
