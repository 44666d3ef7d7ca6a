"""What a copy of the verifier's child does (workers/verifying/fork_server.py): it reads one archived file and writes one answer.

Its limit of memory counts its data; the code of the program and its libraries, some 40 MB, is extra.
"""

from __future__ import annotations

import mmap
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import Any

from spotlightd.model.dataset import Column
from spotlightd.workers.child_setup import answer_once
from spotlightd.workers.threads import open_pool
from spotlightd.workers.verifying.parquet import fingerprint_file

MINIMUM_BYTES = 16 << 20


def run(request: dict[str, Any], out: int, confinement: str) -> None:
    """Start the threads, because later there may be no others, and answer. Without memory for them it works without them."""
    with ExitStack() as stack:
        pool: ThreadPoolExecutor | None = None
        with suppress(MemoryError, RuntimeError):
            _require_memory()
            pool = stack.enter_context(open_pool(request["threads"]))
        answer_once(partial(answer_request, pool))(request, out, confinement)


def answer_request(pool: ThreadPoolExecutor | None, request: dict[str, Any]) -> dict[str, Any]:
    _require_memory()
    columns = [Column(name, column_type, "") for name, column_type in request["columns"]]
    return {"fingerprint": astuple(fingerprint_file(Path(request["path"]), columns, request["time"], pool))}


def _require_memory() -> None:
    """MemoryError when the limit is below what the libraries take: a thread that cannot begin is awaited in vain."""
    try:
        mmap.mmap(-1, MINIMUM_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError as problem:
        raise MemoryError(str(problem)) from problem
