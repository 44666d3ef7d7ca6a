"""How each child starts: it limits and confines itself, then it loads the module that does its work.

The first line of its input has the limits and the paths that it may read. What it prints by accident is discarded: its
answers go to a file of their own.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import sys
from collections.abc import Callable
from datetime import date
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

from spotlightd.confinement.confine import confine_reader, refuse_threads
from spotlightd.confinement.process import tie_to_parent
from spotlightd.errors import FormatError, SettingsError

Work = Callable[[dict[str, Any], int, str], None]
"""`run` of a child's module: it gets the first line, the file number for answers, and how the process is confined."""

Answer = Callable[[dict[str, Any]], dict[str, Any]]
"""Answers a request; FormatError, SettingsError and MemoryError are answers too."""

PIPE_BYTES = 1 << 20
MOST_CHARACTERS = 4_000
_F_SETPIPE_SZ = 1031


class _PandasBlocker(MetaPathFinder):
    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        del path, target
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is blocked in this process", name="pandas")


def block_pandas() -> None:
    """Make every later `import pandas` of this process fail: pyarrow would import it, and it costs memory and time."""
    sys.meta_path.insert(0, _PandasBlocker())


def main() -> None:
    """Confine this process, then run the module that the argument names. No foreign byte comes before that."""
    block_pandas()
    request = json.loads(sys.stdin.buffer.readline())
    tie_to_parent(request["parent"])
    out = open_answers()
    limits = {name: (soft, hard) for name, (soft, hard) in request["rlimits"].items()}
    confinement = confine_reader(map(Path, request["readable"]), limits)
    importlib.import_module(sys.argv[1]).run(request, out, confinement)


def open_answers() -> int:
    """The file number for answers. All other output is discarded from now on."""
    out = os.dup(1)
    os.dup2(2, 1)
    fcntl.fcntl(out, _F_SETPIPE_SZ, PIPE_BYTES)
    return out


def answer_once(answer: Answer, start_threads: Callable[[], object] = lambda: None) -> Work:
    """The work of a child that answers one request. The first line of its output says how it is confined, the second one is
    the answer. It has no other threads than those that `start_threads` starts.
    """

    def run(request: dict[str, Any], out: int, confinement: str) -> None:
        start_threads()
        with os.fdopen(out, "w", encoding="utf-8") as answers:
            print(json.dumps({"confinement": refuse_threads(confinement)}), file=answers, flush=True)
            print(json.dumps(_answer_or_describe(answer, request), default=_encode), file=answers, flush=True)

    return run


def _answer_or_describe(answer: Answer, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return answer(request)
    except FormatError as problem:
        return {"error": str(problem)[:MOST_CHARACTERS], "member": problem.member, "line": problem.line}
    except SettingsError as problem:
        return {"setting": str(problem)[:MOST_CHARACTERS]}
    except (MemoryError, ImportError):  # a library that cannot be loaded for lack of memory
        return {"out_of_memory": True}


def _encode(value: Any) -> str:
    """A value that JSON has no form for."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value.isoformat() if isinstance(value, date) else str(value)
