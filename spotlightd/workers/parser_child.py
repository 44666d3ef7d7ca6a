"""The child that reads untrusted documents, started only by workers/parser.py.

It can read its own program, the operator's source files, and its inbox. Its parent limits the processor time of each
document. It dies with its parent. Requests come as lines of JSON on stdin, answers go as frames to stdout.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from spotlightd.errors import FormatError, SettingsError
from spotlightd.model.dataset import LOAD, Dataset
from spotlightd.model.provenance import Body, Reject
from spotlightd.model.source import Batch, Period, Rows
from spotlightd.model.stream import Stream
from spotlightd.parse import columns, delimited, html, zipped
from spotlightd.parse.readahead import prefetch
from spotlightd.settings.sources import ParserSettings
from spotlightd.workers import loader, protocol
from spotlightd.workers.inline import parse_inline

LIBC = ctypes.CDLL(None)
BLOCK_BYTES = 1 << 18
MINIMUM_BYTES = 64 << 20
IDLE_SECONDS = 3.0
REJECTS_PER_MESSAGE = 50  # stay below the longest message even if every character must be escaped
PRELOADED = (delimited, html, zipped)  # imported before the first document needs them
Sources = Mapping[str, Sequence[Batch | Stream] | SettingsError]


def run(start: dict[str, Any], out: int, confinement: str) -> None:
    """Load the operator's source files once, so that a file that changes meanwhile does not matter; then take requests."""
    sources = {place: _load(place) for place in start["files"]}
    mmap.mmap(-1, MINIMUM_BYTES).close()  # an OSError ends the child here, before it reports READY
    _write_all(out, [protocol.encode_message(protocol.Kind.READY, {"confinement": confinement})])
    idle = threading.Timer(0, LIBC.malloc_trim, [0])
    for line in sys.stdin.buffer:
        idle.cancel()
        request = json.loads(line)
        try:
            _answer(request, sources, out)
        except (FormatError, SettingsError) as problem:
            place = {"member": getattr(problem, "member", 0), "line": getattr(problem, "line", 0)}
            _write_all(out, [protocol.encode_message(protocol.Kind.FAILED, {"message": str(problem)[:4_000], **place})])
        except MemoryError:
            _write_all(out, [protocol.encode_message(protocol.Kind.OUT_OF_MEMORY, {})])
            return
        # freed memory is kept while there is work (see parser.ENVIRONMENT) and returned when idle
        idle = threading.Timer(IDLE_SECONDS, LIBC.malloc_trim, [0])
        idle.daemon = True
        idle.start()


def _load(place: str) -> Sequence[Batch | Stream] | SettingsError:
    """The sources at a place. A file that cannot be loaded is an error of its documents only."""
    try:
        return loader.load_sources(place)
    except SettingsError as problem:
        return problem


def _answer(request: dict[str, Any], sources: Sources, out: int) -> None:
    """Parse a document, or only digest what its archive holds, which needs no code of a source."""
    limits = ParserSettings(**request["limits"])
    if not request["source"]:
        digest = zipped.content_digest(Body(Path(request["path"]), request["name"], limits))
        _write_all(out, [protocol.encode_message(protocol.Kind.DONE, {"rows": {}, "lines": 0, "content": digest})])
        return
    _parse(request, _find_source(sources, request["place"], request["source"]), limits, out)


def _parse(request: dict[str, Any], source: Batch | Stream, limits: ParserSettings, out: int) -> None:
    streams = {
        dataset.name: _Stream(out, number, dataset, request["load_id"])
        for number, dataset in enumerate(source.datasets)
    }
    rejects: list[Reject] = []
    lines = 0
    period = Period(*map(date.fromisoformat, request["period"])) if request["period"] else None
    items = parse_inline(source, Path(request["path"]), request["name"], limits, period=period)
    for item in prefetch(items, depth=1):
        if isinstance(item, Rows):
            streams[item.dataset.name].write(item.columns)
            lines += item.columns.num_rows
            continue
        rejects.append(item)
        lines += 1
        if len(rejects) == REJECTS_PER_MESSAGE:
            _write_all(out, [_encode_rejects(rejects)])
            rejects.clear()
    for stream in streams.values():
        stream.close()
    totals = {"rows": {name: stream.rows for name, stream in streams.items()}, "lines": lines, "content": ""}
    _write_all(out, [_encode_rejects(rejects), protocol.encode_message(protocol.Kind.DONE, totals)])


def _find_source(sources: Sources, place: str, name: str) -> Batch | Stream:
    """From the file that was loaded before the confinement, or from a module of this program."""
    loaded = sources.get(place)
    if isinstance(loaded, SettingsError):
        raise loaded
    return loader.find_source(loaded or loader.load_sources(place), place, name)


def _encode_rejects(rejects: list[Reject]) -> bytes:
    return protocol.encode_message(protocol.Kind.REJECTS, [list(astuple(reject)) for reject in rejects])


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
        if self._size >= BLOCK_BYTES:
            self.send()
        return len(data)

    def send(self) -> None:
        if self._size:
            _write_all(self._out, [protocol.encode_head(protocol.Kind.BLOCK, self._size, self._number), *self._pieces])
            self._pieces.clear()
            self._size = 0

    def flush(self) -> None:
        """Does nothing. Arrow calls it after each batch."""


class _Stream:
    """The Arrow stream of one dataset. Adds the column `load_id`."""

    def __init__(self, out: int, number: int, dataset: Dataset, load_id: int) -> None:
        self.rows = 0
        self._load_id = pa.scalar(load_id, pa.uint64())
        self._schema = columns.stored_schema(dataset)
        self._pipe = _Pipe(out, number)
        self._writer = pa.ipc.new_stream(pa.PythonFile(self._pipe, "w"), self._schema)

    def write(self, batch: pa.RecordBatch) -> None:
        load = pa.repeat(self._load_id, batch.num_rows)
        arrays = [load if name == LOAD.name else batch.column(name) for name in self._schema.names]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
        self.rows += batch.num_rows

    def close(self) -> None:
        self._writer.close()
        self._pipe.send()


def _write_all(out: int, pieces: Iterable[Any]) -> None:
    rest = [memoryview(piece) for piece in pieces]
    while rest:
        sent = os.writev(out, rest[:1_000])
        while rest and sent >= len(rest[0]):
            sent -= len(rest[0])
            del rest[0]
        if sent:
            rest[0] = rest[0][sent:]
