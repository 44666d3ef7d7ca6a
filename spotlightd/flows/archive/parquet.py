"""Writes the meaning of the columns into the footer of an archived Parquet file.

The engine writes only rows and types. The meaning and unit of each column, the dataset and its parsers are added as
metadata of the fields and of the schema, where other programs look for them. pyarrow rewrites only the footer; the rows
stay as the engine wrote them, and are verified afterwards.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from spotlightd.errors import StoreError
from spotlightd.files import open_existing
from spotlightd.model.dataset import Column, Dataset

MAGIC = b"PAR1"
TAIL = struct.Struct("<I4s")  # the end of the file: length of the footer, and the magic bytes
KEY = b"spotlightd"
PIECE_BYTES = 1 << 20


def write_description(
    path: Path, dataset: Dataset, columns: Sequence[Column], partition: str, parsers: Sequence[str]
) -> None:
    """Write the description into a Parquet file with these columns of the dataset. StoreError for any other file."""
    description = {
        "dataset": dataset.name, "title": dataset.title, "publisher": dataset.publisher, "about": dataset.about,
        "partition": partition, "parsers": list(parsers),
    }  # fmt: skip
    try:
        metadata, plain = pq.read_metadata(path), pq.read_schema(path)
        fields = [plain.field(column.name).with_metadata(_describe_column(column)) for column in columns]
        footer = _render_footer(
            pa.schema(fields, metadata={KEY: json.dumps(description, ensure_ascii=False)}), metadata
        )
    except (pa.ArrowException, KeyError, RuntimeError) as problem:
        raise StoreError(f"{path.name} cannot be described: {problem}") from problem
    with open_existing(path) as file:
        file.seek(-TAIL.size, os.SEEK_END)
        length, magic = TAIL.unpack(file.read())
        if magic != MAGIC:
            raise StoreError(f"{path.name} does not end like a Parquet file")
        file.seek(-TAIL.size - length, os.SEEK_END)
        file.truncate()
        file.write(footer)
        os.fsync(file.fileno())


def _describe_column(column: Column) -> dict[str, str]:
    return {"type": column.type, "meaning": column.meaning, **({"unit": column.unit} if column.unit else {})}


def _render_footer(schema: pa.Schema, metadata: pq.FileMetaData) -> bytes:
    """The footer of a file with that schema and those row groups, followed by its length and the magic bytes."""
    empty, complete = io.BytesIO(), io.BytesIO()
    pq.write_metadata(schema, empty)
    described = pq.read_metadata(io.BytesIO(empty.getvalue()))
    described.append_row_groups(metadata)
    described.write_metadata_file(complete)
    return complete.getvalue()[len(MAGIC) :]


def hash_file(path: Path) -> tuple[str, int]:
    """The SHA-256 and the length of a file."""
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            sha256.update(piece)
        return sha256.hexdigest(), file.tell()
