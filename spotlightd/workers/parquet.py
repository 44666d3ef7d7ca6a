"""The fingerprint of a Parquet file, by Arrow and numpy: the same numbers as sql/fingerprint.py has the engine compute.

Read by row group, a few thousand rows at once, two groups at the same time. A text that the file holds in a
dictionary is hashed once for each entry; where the writer gave up the dictionary, nearly each text is another, and
each is hashed where it stands. Checksums of pages are checked on the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import add
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from spotlightd.errors import FormatError
from spotlightd.model.archive import Fingerprint
from spotlightd.model.dataset import Column
from spotlightd.parse.columns import PLAIN
from spotlightd.sql.fingerprint import DECIMAL_DIGITS, Shape, shape
from spotlightd.workers.row_hash import Hasher, Memory

BATCH_ROWS = 32_768
LEAST_ROWS = 256
BATCH_BYTES = 8 << 20
BUFFER_BYTES = 1 << 20
_PLAIN: dict[str, pa.DataType] = {**PLAIN, "UUID": pa.binary(16)}
_UNITS = {3: "ms", 6: "us", 9: "ns"}


def fingerprint(path: Path, columns: Sequence[Column], time: str, threads: int = 2) -> Fingerprint:
    """Of a file that holds exactly these columns. FormatError when it does not, or cannot be read."""
    try:
        with pq.ParquetFile(path) as file:
            _check(file, columns)
            found = file.metadata
        return _whole(path, found, Hasher(columns, time), threads)
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError) as problem:
        raise FormatError(f"{path.name} cannot be read as Parquet: {problem}") from None


def written(found: Shape) -> pa.DataType:
    """The Arrow type of a value as the engine writes it."""
    word = found.word
    if word.startswith("DateTime64"):
        return pa.timestamp(_UNITS[found.unit], "UTC")
    if word.startswith("FixedString"):
        return pa.binary(int(word[12:-1]))
    if word.startswith("Decimal"):
        digits, scale = (int(part) for part in word[8:-1].split(","))
        return pa.decimal128(digits, scale) if digits <= DECIMAL_DIGITS[2] else pa.decimal256(digits, scale)
    return _PLAIN[word]


def _check(file: pq.ParquetFile, columns: Sequence[Column]) -> None:
    """That the file has these columns in this order, of these types and nothing else."""
    schema = file.schema.to_arrow_schema()
    declared = [column.name for column in columns]
    if schema.names != declared:
        wrong = sorted(set(schema.names) ^ set(declared)) or ["their order"]
        raise FormatError(f"the file's columns are not the declared ones: {', '.join(wrong)}")
    for at, column in enumerate(columns):
        found, field = shape(column), schema.field(at)
        value = written(found)
        wanted = pa.list_(pa.field("element", value, nullable=False)) if found.listed else value
        if field.type != wanted or field.nullable != found.nullable:
            empty = ", with empty values" if field.nullable else ""
            raise FormatError(f"column {column.name} is {field.type}{empty} in the file, declared as {column.type}")
        leaf = file.schema.column(at)
        if leaf.length != _width(found) or (leaf.logical_type.type == "UUID") is not (found.word == "UUID"):
            raise FormatError(f"column {column.name} is not kept in the file as a {column.type} is: {leaf}")


def _width(found: Shape) -> int:
    """Bytes of a value in the file where all have as many, else 0."""
    if found.word.startswith("Decimal"):
        return next(4 << at for at, digits in enumerate(DECIMAL_DIGITS) if found.digits <= digits)
    kept = written(found)
    return int(kept.byte_width) if pa.types.is_fixed_size_binary(kept) else 0


def _whole(path: Path, found: pq.FileMetaData, hasher: Hasher, threads: int) -> Fingerprint:
    with ThreadPoolExecutor(threads) as pool:
        groups = pool.map(lambda group: _group(path, found, group, hasher), range(found.num_row_groups))
        whole = reduce(add, groups, Fingerprint())
    if whole.rows != found.num_rows:
        raise FormatError(f"{path.name} says that it has {found.num_rows} rows, and has {whole.rows}")
    return hasher.scaled(whole)


def _group(path: Path, found: pq.FileMetaData, group: int, hasher: Hasher) -> Fingerprint:
    part = found.row_group(group)
    chunks = [part.column(at) for at in range(part.num_columns)]
    repeating = [chunk.path_in_schema for chunk in chunks if chunk.has_dictionary_page]
    file = pq.ParquetFile(
        path,
        metadata=found,
        read_dictionary=repeating,
        buffer_size=BUFFER_BYTES,
        pre_buffer=False,
        page_checksum_verification=True,
    )
    with file:
        return reduce(add, _batches(file, part, group, hasher), Fingerprint())


def _batches(file: pq.ParquetFile, part: pq.RowGroupMetaData, group: int, hasher: Hasher) -> Iterator[Fingerprint]:
    row_bytes = part.total_byte_size // max(part.num_rows, 1) + 1
    rows = max(LEAST_ROWS, min(BATCH_ROWS, BATCH_BYTES // row_bytes))
    memory = Memory()
    for batch in file.iter_batches(rows, row_groups=[group], use_threads=False):
        yield hasher.fingerprint(batch, memory)
