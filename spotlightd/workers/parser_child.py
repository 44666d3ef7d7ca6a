"""The child that reads untrusted documents: `python -I -m spotlightd.workers.parser_child`, started only by
workers/parser.py.

It limits itself before it reads anything: address space, open files, no writing of files, processor time for each
document. It dies with its parent. Requests come as lines of JSON on stdin, answers go as frames to stdout.
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
from spotlightd.parse.readahead import prefetch
from spotlightd.settings.sources import ParserSettings
from spotlightd.workers import loader, protocol
from spotlightd.workers.confine import LIBC, block_pandas, confine_process
from spotlightd.workers.inline import parse_inline

BLOCK_BYTES = 1 << 18
MINIMUM_BYTES = 64 << 20
IDLE_SECONDS = 3.0
REJECTS_PER_MESSAGE = 50  # stay below the longest message even if every character must be escaped
PRELOADED = (delimited, html, zipped)  # imported before the first document needs them


def main() -> None:
    block_pandas()
    memory_bytes, parent = int(sys.argv[1]), int(sys.argv[2])
    out = confine_process(parent, {resource.RLIMIT_AS: memory_bytes})
    mmap.mmap(-1, MINIMUM_BYTES).close()  # an OSError ends the child here, before it reports READY
    _write_all(out, [protocol.encode_message(protocol.Kind.READY, {})])
    idle = threading.Timer(0, LIBC.malloc_trim, [0])
    for line in sys.stdin.buffer:
        idle.cancel()
        request = json.loads(line)
        _set_processor_time(request["limits"]["cpu_seconds"])
        try:
            _answer(request, out)
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


def _set_processor_time(seconds: int) -> None:
    """Limit the next document. The system counts from the start of the process, so the time used so far is added."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds + 1, hard))


def _answer(request: dict[str, Any], out: int) -> None:
    source = _find_source(request["place"], request["source"])
    streams = {
        dataset.name: _Stream(out, number, dataset, request["load_id"])
        for number, dataset in enumerate(source.datasets)
    }
    rejects: list[Reject] = []
    lines = 0
    limits = ParserSettings(**request["limits"])
    for item in prefetch(parse_inline(source, Path(request["path"]), request["name"], limits), depth=1):
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
    totals = {"rows": {name: stream.rows for name, stream in streams.items()}, "lines": lines}
    _write_all(out, [_encode_rejects(rejects), protocol.encode_message(protocol.Kind.DONE, totals)])


def _find_source(place: str, name: str) -> Batch | Stream:
    for source in loader.load_sources(place):
        if source.name == name:
            return source
    raise SettingsError(f"{place} has no source {name} any more")


def _encode_rejects(rejects: list[Reject]) -> bytes:
    return protocol.encode_message(
        protocol.Kind.REJECTS, [[reject.member, reject.line, reject.text, reject.reason] for reject in rejects]
    )


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


if __name__ == "__main__":
    main()
