"""The child that reads untrusted documents, started only by workers/parser.py.

It can read its own program, the operator's source files, and its inbox. Its parent limits the processor time of each
document. It dies with its parent. Requests come as lines of JSON on stdin, answers go as frames to stdout: `parse` reads
one document of a group, `end` completes the streams of the group, `digest` digests an archive.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import select
import sys
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from datetime import date
from pathlib import Path
from typing import Any

from spotlightd.confinement.confine import refuse_threads
from spotlightd.errors import FormatError, SettingsError
from spotlightd.model.provenance import Body, Reject
from spotlightd.model.source import Batch, Period, Rows
from spotlightd.model.stream import Stream
from spotlightd.parse import delimited, html, zipped
from spotlightd.parse.readahead import prefetch
from spotlightd.settings.sources import ParserSettings
from spotlightd.workers import loader, protocol
from spotlightd.workers.inline import SourceBugError, parse_inline
from spotlightd.workers.parsing.streams import RowStreams, write_all
from spotlightd.workers.threads import start_parsing_threads

LIBC = ctypes.CDLL(None)
MINIMUM_BYTES = 64 << 20
IDLE_SECONDS = 3.0
REJECTS_PER_MESSAGE = 50  # stay below the longest message even if every character must be escaped
PRELOADED = (delimited, html, zipped)  # imported before the first document needs them
Sources = Mapping[str, Sequence[Batch | Stream] | SettingsError]


def run(start: dict[str, Any], out: int, confinement: str) -> None:
    """Load the operator's source files once, so that a file that changes meanwhile does not matter; then take requests."""
    sources = {place: _load(place) for place in start["files"]}
    mmap.mmap(-1, MINIMUM_BYTES).close()  # an OSError ends the child here, before it reports READY
    start_parsing_threads()
    _send(out, protocol.Kind.READY, {"confinement": refuse_threads(confinement)})
    child = _Child(sources, out)
    while child.is_usable and (line := _read_request()):
        child.handle(json.loads(line))


def _read_request() -> bytes:
    """The next request; empty at the end. Freed memory is kept while there is work (see parser.ENVIRONMENT), and returned when
    there is none for a while.
    """
    if not select.select([sys.stdin], [], [], IDLE_SECONDS)[0]:
        LIBC.malloc_trim(0)
    return sys.stdin.buffer.readline()


def _load(place: str) -> Sequence[Batch | Stream] | SettingsError:
    """The sources at a place. A file that cannot be loaded is an error of its documents only."""
    try:
        return loader.load_sources(place)
    except SettingsError as problem:
        return problem


class _Child:
    """Answers requests. The streams of a group are open from its first document until its end.

    After a bug in a source or a lack of memory the child is not usable: either may have left anything behind.
    """

    def __init__(self, sources: Sources, out: int) -> None:
        self.is_usable = True
        self._sources, self._out = sources, out
        self._streams: RowStreams | None = None

    def handle(self, request: dict[str, Any]) -> None:
        try:
            self._answer(request)
        except (FormatError, SettingsError) as problem:
            self.is_usable = not isinstance(problem, SourceBugError)
            place = {"member": getattr(problem, "member", 0), "line": getattr(problem, "line", 0)}
            _send(self._out, protocol.Kind.FAILED, {"message": str(problem)[:4_000], **place})
        except MemoryError:
            self.is_usable = False
            _send(self._out, protocol.Kind.OUT_OF_MEMORY, {})

    def _answer(self, request: dict[str, Any]) -> None:
        """Parse a document, end a group, or only digest what an archive holds, which needs no code of a source."""
        if request["kind"] == "end":
            self._end_group()
            return
        limits = ParserSettings(**request["limits"])
        if request["kind"] == "digest":
            digest = zipped.content_digest(Body(Path(request["path"]), request["name"], limits))
            _send(self._out, protocol.Kind.DONE, {"rows": {}, "lines": 0, "content": digest})
            return
        source = _find_source(self._sources, request["place"], request["source"])
        if self._streams is None:
            self._streams = RowStreams(self._out, source.datasets)
        _parse(request, source, limits, self._streams, self._out)

    def _end_group(self) -> None:
        """Complete the streams."""
        if self._streams is not None:
            self._streams.close()
            self._streams = None
        _send(self._out, protocol.Kind.END, {})


def _parse(
    request: dict[str, Any], source: Batch | Stream, limits: ParserSettings, streams: RowStreams, out: int
) -> None:
    streams.begin_document(request["load_id"])
    rejects: list[Reject] = []
    lines = 0
    period = Period(*map(date.fromisoformat, request["period"])) if request["period"] else None
    items = parse_inline(source, Path(request["path"]), request["name"], limits, period=period)
    for item in prefetch(items, depth=1):
        if isinstance(item, Rows):
            streams.write(item.dataset.name, item.columns)
            lines += item.columns.num_rows
            continue
        rejects.append(item)
        lines += 1
        if len(rejects) == REJECTS_PER_MESSAGE:
            _send_rejects(out, rejects)
    _send_rejects(out, rejects)
    _send(out, protocol.Kind.DONE, {"rows": streams.end_document(), "lines": lines, "content": ""})


def _find_source(sources: Sources, place: str, name: str) -> Batch | Stream:
    """From the file that was loaded before the confinement, or from a module of this program."""
    loaded = sources.get(place)
    if isinstance(loaded, SettingsError):
        raise loaded
    return loader.find_source(loaded or loader.load_sources(place), place, name)


def _send_rejects(out: int, rejects: list[Reject]) -> None:
    if rejects:
        _send(out, protocol.Kind.REJECTS, [list(astuple(reject)) for reject in rejects])
        rejects.clear()


def _send(out: int, kind: protocol.Kind, value: Any) -> None:
    write_all(out, [protocol.encode_message(kind, value)])
