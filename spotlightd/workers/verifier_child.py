"""The child that reads archived files: `python -I -m spotlightd.workers.verifier_child`, started only by
workers/verifier.py.

It reads one file and writes one answer, a line of JSON. It limits itself first: the size of its data (the code of the
program and its libraries, some 40 MB, is extra), open files, no writing of files, no sockets, processor time. It dies
with its parent.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from dataclasses import astuple
from pathlib import Path
from typing import Any

from spotlightd.errors import FormatError, SettingsError
from spotlightd.model.dataset import Column
from spotlightd.workers.confine import block_pandas, confine_process, deny_network

MOST_CHARACTERS = 4_000


def main() -> None:
    block_pandas()
    memory_bytes, cpu_seconds, parent = map(int, sys.argv[1:])
    out = confine_process(parent, {resource.RLIMIT_DATA: memory_bytes})
    resource.setrlimit(
        resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1)
    )  # equal limits would end it with SIGKILL instead of SIGXCPU
    deny_network()
    os.write(out, json.dumps(_answer_request(json.load(sys.stdin))).encode() + b"\n")


def _answer_request(request: dict[str, Any]) -> dict[str, Any]:
    try:
        from spotlightd.workers.parquet import fingerprint_file  # noqa: PLC0415  (its libraries must count as data)

        columns = [Column(name, column_type, "") for name, column_type in request["columns"]]
        fingerprint = fingerprint_file(Path(request["path"]), columns, request["time"], request["threads"])
        return {"fingerprint": astuple(fingerprint)}
    except (FormatError, SettingsError) as problem:
        return {"error": str(problem)[:MOST_CHARACTERS]}
    except (MemoryError, ImportError):
        return {"out_of_memory": True}


if __name__ == "__main__":
    main()
