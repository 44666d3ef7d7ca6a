"""The child that reads archived files, started only by workers/verifier.py. It reads one file and writes one answer.

Its limit of memory counts its data; the code of the program and its libraries,
some 40 MB, is extra.
"""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path
from typing import Any

from spotlightd.model.dataset import Column
from spotlightd.workers.child_setup import answer_once
from spotlightd.workers.parquet import fingerprint_file


def answer_request(request: dict[str, Any]) -> dict[str, Any]:
    columns = [Column(name, column_type, "") for name, column_type in request["columns"]]
    threads = request["threads"]
    return {"fingerprint": astuple(fingerprint_file(Path(request["path"]), columns, request["time"], threads))}


run = answer_once(answer_request)
