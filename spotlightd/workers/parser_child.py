"""The child that reads untrusted documents: `python -I -m spotlightd.workers.parser_child`, started by workers/parser.py only.

It limits itself before it reads anything: address space, open files, no files written, processor time for each
document; and it dies with its parent. Requests come as lines of JSON on stdin, answers go as frames to stdout.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from spotlightd.errors import FormatError, SettingsError
from spotlightd.model.dataset import LOAD, Dataset
from spotlightd.model.provenance import Reject
from spotlightd.model.source import Batch, Rows
from spotlightd.model.stream import Stream
from spotlightd.parse import columns, delimited, html, zipped
from spotlightd.parse.readahead import ahead
from spotlightd.settings.sources import ParserSettings
from spotlightd.workers import loader, protocol
from spotlightd.workers.confine import LIBC, confined, without_pandas
from spotlightd.workers.inline import parse_here

GATHER_BYTES = 1 << 18
LEAST_BYTES = 64 << 20
IDLE_SECONDS = 3.0
REJECTS_AT_ONCE = 50  # stay below the longest message even if every character must be escaped
WARM = (delimited, html, zipped)  # imported before the first document asks for them


def main() -> None:
    without_pandas()
    memory_bytes, parent = int(sys.argv[1]), int(sys.argv[2])
    out = confined(parent, {resource.RLIMIT_AS: memory_bytes})
    mmap.mmap(-1, LEAST_BYTES).close()  # an OSError here ends the child before it says that it is ready
    _write(out, [protocol.message(protocol.Kind.READY, {})])
    idle = threading.Timer(0, LIBC.malloc_trim, [0])
    for line in sys.stdin.buffer:
        idle.cancel()
        request = json.loads(line)
        _set_processor_time(request["limits"]["cpu_seconds"])
        try:
            _serve(request, out)
        except (FormatError, SettingsError) as problem:
            place = {"member": getattr(problem, "member", 0), "line": getattr(problem, "line", 0)}
            _write(out, [protocol.message(protocol.Kind.FAILED, {"message": str(problem)[:4_000], **place})])
        except MemoryError:
            _write(out, [protocol.message(protocol.Kind.STARVED, {})])
            return
        # while there is work, freed memory is kept (see child.ENVIRONMENT); at rest it is given back
        idle = threading.Timer(IDLE_SECONDS, LIBC.malloc_trim, [0])
        idle.daemon = True
        idle.start()


def _set_processor_time(seconds: int) -> None:
    """The system counts from the start of the process, we from the start of the document."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds + 1, hard))


def _serve(request: dict[str, Any], out: int) -> None:
    source = _source(request["place"], request["source"])
    streams = {
        dataset.name: _Stream(out, number, dataset, request["load_id"])
        for number, dataset in enumerate(source.datasets)
    }
    rejects: list[Reject] = []
    lines = 0
    limits = ParserSettings(**request["limits"])
    for found in ahead(parse_here(source, Path(request["path"]), request["name"], limits), depth=1):
        if isinstance(found, Rows):
            streams[found.dataset.name].write(found.columns)
            lines += found.columns.num_rows
            continue
        rejects.append(found)
        lines += 1
        if len(rejects) == REJECTS_AT_ONCE:
            _write(out, [_rejects(rejects)])
            rejects.clear()
    for stream in streams.values():
        stream.close()
    done = {"rows": {name: stream.rows for name, stream in streams.items()}, "lines": lines}
    _write(out, [_rejects(rejects), protocol.message(protocol.Kind.DONE, done)])


def _source(place: str, name: str) -> Batch | Stream:
    for source in loader.sources(place):
        if source.name == name:
            return source
    raise SettingsError(f"{place} has no source {name} any more")


def _rejects(some: list[Reject]) -> bytes:
    return protocol.message(protocol.Kind.REJECTS, [[one.member, one.line, one.text, one.reason] for one in some])


class _Pipe:
    """A file to Arrow, which writes many small pieces: they are gathered into blocks of one dataset's stream."""

    closed = False

    def __init__(self, out: int, number: int) -> None:
        self._out, self._number = out, number
        self._gathered: list[Any] = []
        self._size = 0

    def write(self, data: Any) -> int:
        self._gathered.append(data)
        self._size += len(data)
        if self._size >= GATHER_BYTES:
            self.send()
        return len(data)

    def send(self) -> None:
        if self._size:
            _write(self._out, [protocol.head(protocol.Kind.BLOCK, self._size, self._number), *self._gathered])
            self._gathered.clear()
            self._size = 0

    def flush(self) -> None:
        """Arrow asks for it after each batch."""


class _Stream:
    """The Arrow stream of one dataset, which gets its `load_id` here."""

    def __init__(self, out: int, number: int, dataset: Dataset, load_id: int) -> None:
        self.rows = 0
        self._load_id = pa.scalar(load_id, pa.uint64())
        self._schema = columns.schema(dataset)
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


def _write(out: int, pieces: Iterable[Any]) -> None:
    waiting = [memoryview(piece) for piece in pieces]
    while waiting:
        written = os.writev(out, waiting[:1_000])
        while waiting and written >= len(waiting[0]):
            written -= len(waiting[0])
            del waiting[0]
        if written:
            waiting[0] = waiting[0][written:]


if __name__ == "__main__":
    main()
