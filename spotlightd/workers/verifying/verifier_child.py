"""What a copy of the verifier's child does (workers/verifying/fork_server.py): it reads one archived file and writes one answer.

Its limit of memory counts its data; the code of the program and its libraries, some 40 MB, is extra.
"""

from __future__ import annotations

import mmap
from dataclasses import astuple
from pathlib import Path
from typing import Any

from spotlightd.model.dataset import Column
from spotlightd.workers.child_setup import answer_once
from spotlightd.workers.verifying.parquet import fingerprint_file

MINIMUM_BYTES = 16 << 20


def answer_request(request: dict[str, Any]) -> dict[str, Any]:
    _require_memory()
    columns = [Column(name, column_type, "") for name, column_type in request["columns"]]
    threads = request["threads"]
    return {"fingerprint": astuple(fingerprint_file(Path(request["path"]), columns, request["time"], threads))}


def _require_memory() -> None:
    """MemoryError when the limit is below what the libraries take: a thread that cannot start would be awaited in vain."""
    try:
        mmap.mmap(-1, MINIMUM_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError as problem:
        raise MemoryError(str(problem)) from problem


run = answer_once(answer_request)
