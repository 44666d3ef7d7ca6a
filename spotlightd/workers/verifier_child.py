"""The child that reads archived files: `python -I -m spotlightd.workers.verifier_child`, started by workers/verifier.py only.

One file, one answer, as a line of JSON. It limits itself first: its own data (the program and its libraries, some 40 MB,
come on top), open files, no files written, no sockets, processor time; and it dies with its parent.
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
from spotlightd.workers.confine import confined, without_network, without_pandas

MOST_CHARACTERS = 4_000


def main() -> None:
    without_pandas()
    memory_bytes, cpu_seconds, parent = map(int, sys.argv[1:])
    out = confined(parent, {resource.RLIMIT_DATA: memory_bytes})
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))  # both the same would be SIGKILL at once
    without_network()
    os.write(out, json.dumps(_answered(json.load(sys.stdin))).encode() + b"\n")


def _answered(request: dict[str, Any]) -> dict[str, Any]:
    try:
        from spotlightd.workers.parquet import fingerprint  # noqa: PLC0415  (its libraries count as data)

        columns = [Column(name, word, "") for name, word in request["columns"]]
        found = fingerprint(Path(request["path"]), columns, request["time"], request["threads"])
        return {"fingerprint": astuple(found)}
    except (FormatError, SettingsError) as problem:
        return {"failed": str(problem)[:MOST_CHARACTERS]}
    except (MemoryError, ImportError):
        return {"starved": True}


if __name__ == "__main__":
    main()
