"""How a child starts that is kept for several files: it loads its libraries once, and for each file it forks a copy of
itself, which confines itself and reads that file.

The kept process reads no foreign byte. A copy is confined like any other child: it may read its one file and the program,
and its limits count from its own start. It ends with its answer, and with it all that the file did to its memory. It has
neither the pipe of the requests nor that of the answers: its answer comes through a pipe of its own, which is read to its
end and passed on as a text. So code that somebody managed to run in a copy can say something wrong about its own file,
and nothing about the next one.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from itertools import chain
from pathlib import Path
from typing import Any

from spotlightd.confinement.confine import confine_reader
from spotlightd.confinement.process import drop_capabilities, hide_memory, tie_to_parent
from spotlightd.workers.child_setup import Work, block_pandas, open_answers

ANSWER_BYTES = 1 << 16


def main() -> None:
    """Load the module that the argument names, then answer requests: a line of JSON for each."""
    block_pandas()
    first = sys.stdin.buffer.readline()
    tie_to_parent(json.loads(first)["parent"])
    hide_memory()
    drop_capabilities()
    out = open_answers()
    work: Work = importlib.import_module(sys.argv[1]).run
    with os.fdopen(out, "w", encoding="utf-8", closefd=False) as answers:
        for line in chain([first], sys.stdin.buffer):
            status, output = _ask_copy(work, json.loads(line), out)
            print(json.dumps({"status": status, "output": output.decode(errors="replace")}), file=answers, flush=True)


def _ask_copy(work: Work, request: dict[str, Any], out: int) -> tuple[int, bytes]:
    """The exit status of a copy, negative for a signal, and what it printed."""
    reading, writing = os.pipe()
    kept = os.getpid()
    pid = os.fork()
    if not pid:
        _run_copy(work, request, out, (reading, writing), kept)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        output = answers.read(ANSWER_BYTES + 1)
        if len(output) > ANSWER_BYTES:
            os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), output


def _run_copy(work: Work, request: dict[str, Any], out: int, pipe: tuple[int, int], kept: int) -> None:
    """Read the file of the request in this process, which was just forked. It ends here, whatever happens.

    It has one thread, so nothing lends it the rights that it gives up.
    """
    status = 1
    try:
        tie_to_parent(kept)
        reading, writing = pipe
        os.dup2(2, 0)
        os.dup2(writing, out)
        os.close(reading)
        os.close(writing)
        limits = {name: (soft, hard) for name, (soft, hard) in request["rlimits"].items()}
        work(request, out, confine_reader(map(Path, request["readable"]), limits))
        status = 0
    finally:
        os._exit(status)
