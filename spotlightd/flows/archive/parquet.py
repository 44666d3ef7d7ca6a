"""What the columns of an archived file mean, written into the file itself.

The engine writes rows and types, and nothing else. Meaning and unit of each column, the dataset and the parsers that read
its documents go into the file's footer, where programs that know nothing of us look for them: as metadata of the fields
and of the schema. The footer alone is written anew, by pyarrow; the rows stay as the engine wrote them, and are proven
after this.
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
from spotlightd.model.dataset import Column, Dataset

MAGIC = b"PAR1"
TAIL = struct.Struct("<I4s")  # length of the footer, and the magic, at the very end
KEY = b"spotlightd"
PIECE_BYTES = 1 << 20


def describe(path: Path, dataset: Dataset, columns: Sequence[Column], partition: str, parsers: Sequence[str]) -> None:
    """Put the description into a Parquet file of these columns of the dataset. StoreError when it is no such file."""
    said = {
        "dataset": dataset.name, "title": dataset.title, "publisher": dataset.publisher, "about": dataset.about,
        "partition": partition, "parsers": list(parsers),
    }  # fmt: skip
    try:
        written, plain = pq.read_metadata(path), pq.read_schema(path)
        fields = [plain.field(one.name).with_metadata(_meaning(one)) for one in columns]
        footer = _footer(pa.schema(fields, metadata={KEY: json.dumps(said, ensure_ascii=False)}), written)
    except (pa.ArrowException, KeyError, RuntimeError) as problem:
        raise StoreError(f"{path.name} cannot be described: {problem}") from problem
    with path.open("r+b") as file:
        file.seek(-TAIL.size, os.SEEK_END)
        length, magic = TAIL.unpack(file.read())
        if magic != MAGIC:
            raise StoreError(f"{path.name} has no end of a Parquet file")
        file.seek(-TAIL.size - length, os.SEEK_END)
        file.truncate()
        file.write(footer)
        os.fsync(file.fileno())


def _meaning(column: Column) -> dict[str, str]:
    return {"type": column.type, "meaning": column.meaning, **({"unit": column.unit} if column.unit else {})}


def _footer(schema: pa.Schema, written: pq.FileMetaData) -> bytes:
    """The footer of a file with that schema and those row groups, its length and the magic behind it."""
    empty, whole = io.BytesIO(), io.BytesIO()
    pq.write_metadata(schema, empty)
    described = pq.read_metadata(io.BytesIO(empty.getvalue()))
    described.append_row_groups(written)
    described.write_metadata_file(whole)
    return whole.getvalue()[len(MAGIC) :]


def digest(path: Path) -> tuple[str, int]:
    """SHA-256 and length of a file."""
    seen = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            seen.update(piece)
        return seen.hexdigest(), file.tell()
