"""The rows that the parser child sends: one Arrow stream for each dataset, over all documents of a group.

The rows of a small document wait until it was read to its end, so that a refused one sends none, and then until there are
enough for a batch: the engine and Arrow pay for each batch, not for each row. A large document is sent while it is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from spotlightd.model.dataset import LOAD, Dataset
from spotlightd.parse import columns
from spotlightd.workers import protocol

PIECE_BYTES = 1 << 18
BATCH_ROWS = 16_384
BATCH_BYTES = 4 << 20


class RowStreams:
    """The streams of one group, by dataset."""

    def __init__(self, out: int, datasets: Sequence[Dataset]) -> None:
        self._streams = {dataset.name: _Stream(out, number, dataset) for number, dataset in enumerate(datasets)}

    def begin_document(self, load_id: int) -> None:
        """From now on rows are of that load. What an unfinished document holds back is dropped."""
        for stream in self._streams.values():
            stream.begin_document(load_id)

    def write(self, dataset: str, batch: pa.RecordBatch) -> None:
        self._streams[dataset].write(batch)

    def end_document(self) -> dict[str, int]:
        """The document was read to its end: its rows may be sent. Returns their number by dataset."""
        return {name: stream.end_document() for name, stream in self._streams.items()}

    def close(self) -> None:
        for stream in self._streams.values():
            stream.close()


class _Stream:
    """The Arrow stream of one dataset. Adds the column `load_id`."""

    def __init__(self, out: int, number: int, dataset: Dataset) -> None:
        self._schema = columns.stored_schema(dataset)
        self._pipe = _Pipe(out, number)
        self._writer = pa.ipc.new_stream(pa.PythonFile(self._pipe, "w"), self._schema)
        self._ready = _Batches(self._schema)
        self._begun = _Batches(self._schema)
        self._load_id = pa.scalar(0, pa.uint64())
        self._rows = 0

    def begin_document(self, load_id: int) -> None:
        self._load_id = pa.scalar(load_id, pa.uint64())
        self._begun.clear()
        self._rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        load = pa.repeat(self._load_id, batch.num_rows)
        arrays = [load if name == LOAD.name else batch.column(name) for name in self._schema.names]
        self._begun.add(pa.record_batch(arrays, schema=self._schema))
        self._rows += batch.num_rows
        if self._begun.is_full:
            self._send(self._begun)

    def end_document(self) -> int:
        self._ready.take(self._begun)
        if self._ready.is_full:
            self._send(self._ready)
        return self._rows

    def close(self) -> None:
        self._send(self._ready)
        self._writer.close()
        self._pipe.send()

    def _send(self, batches: _Batches) -> None:
        for batch in batches.join():
            self._writer.write_batch(batch)
        batches.clear()


class _Batches:
    """Batches that wait to be sent as one."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._batches: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    @property
    def is_full(self) -> bool:
        return self._rows >= BATCH_ROWS or self._bytes >= BATCH_BYTES

    def add(self, batch: pa.RecordBatch) -> None:
        self._batches.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes

    def take(self, others: _Batches) -> None:
        for batch in others._batches:
            self.add(batch)
        others.clear()

    def clear(self) -> None:
        self._batches.clear()
        self._rows = self._bytes = 0

    def join(self) -> list[pa.RecordBatch]:
        """The same rows in as few batches as possible."""
        if len(self._batches) < 2:  # noqa: PLR2004  (nothing to join)
            return self._batches
        table = pa.Table.from_batches(self._batches, self._schema).unify_dictionaries().combine_chunks()
        return list(table.to_batches())


class _Pipe:
    """A file for Arrow, which writes many small pieces. It collects them into blocks of one dataset's stream."""

    closed = False

    def __init__(self, out: int, number: int) -> None:
        self._out, self._number = out, number
        self._pieces: list[Any] = []
        self._size = 0

    def write(self, data: Any) -> int:
        self._pieces.append(data)
        self._size += len(data)
        if self._size >= PIECE_BYTES:
            self.send()
        return len(data)

    def send(self) -> None:
        if self._size:
            write_all(self._out, [protocol.encode_head(protocol.Kind.BLOCK, self._size, self._number), *self._pieces])
            self._pieces.clear()
            self._size = 0

    def flush(self) -> None:
        """Does nothing. Arrow calls it after each batch."""


def write_all(out: int, pieces: Iterable[Any]) -> None:
    """Write all pieces to the pipe, in few system calls."""
    rest = [memoryview(piece) for piece in pieces]
    while rest:
        sent = os.writev(out, rest[:1_000])
        while rest and sent >= len(rest[0]):
            sent -= len(rest[0])
            del rest[0]
        if sent:
            rest[0] = rest[0][sent:]
