"""The threads of a process that parses: it starts them before it sees a document, and may start no other afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import pyarrow as pa
import pyarrow.csv

from spotlightd.parse import readahead

READAHEAD_THREADS = 3  # one for the rows of a document, and two for texts in it that are read at the same time


def start_parsing_threads() -> None:
    """Those that read ahead, and the one thread of each of Arrow's two pools (see child_process.ENVIRONMENT): Arrow waits
    without end for a thread that it cannot start.
    """
    readahead.start_threads(READAHEAD_THREADS)
    pyarrow.csv.read_csv(pa.BufferReader(b"number\n1\n"))


@contextmanager
def open_pool(count: int) -> Iterator[ThreadPoolExecutor]:
    """A pool whose threads all run already. RuntimeError when they cannot be started."""
    can_end = Event()
    with ThreadPoolExecutor(count) as pool:
        try:
            for _ in range(count):
                pool.submit(can_end.wait)  # no thread is free for the next one
        finally:
            can_end.set()
        yield pool
