"""Watches the memory of a process and of its children from a process of its own, so that what is measured is not held up.

`_outside.py PID`: until its standard input ends, it looks every 50 ms; then it prints the peaks as JSON. A process is called
by the words of its command that KINDS names, and the first one is the `daemon`. `watch_memory` is the client.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
from _memory import read_high_water

KINDS = {"workers.verifying.verifier_child": "verifier", "spotlightd.engine": "engine", "minio": "store"}
SAMPLE_SECONDS = 0.05
END_SECONDS = 30.0


@contextmanager
def watch_memory(peaks: dict[str, int], pid: int) -> Iterator[None]:
    """The greatest resident memory of that process and of each kind of its children during the block, in bytes."""
    command = [sys.executable, __file__, str(pid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as watcher:
        try:
            assert watcher.stdout
            watcher.stdout.readline()  # it is at work
            yield
        finally:
            output, _ = watcher.communicate(timeout=END_SECONDS)
        for kind, peak in json.loads(output).items():
            peaks[kind] = max(peaks.get(kind, 0), peak)


def watch(pid: int) -> dict[str, int]:
    """The peaks by kind, until standard input ends."""
    peaks, kinds = dict[str, int](), {pid: "daemon", os.getpid(): ""}
    root = psutil.Process(pid)
    earlier = {pid, *(process.pid for process in root.children(recursive=True))}
    print(flush=True)
    while not select.select([sys.stdin], [], [], SAMPLE_SECONDS)[0]:
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.Error, OSError):  # it has ended
                kind = kinds.get(process.pid) or kinds.setdefault(process.pid, name_kind(process.cmdline()))
                memory = process.memory_info().rss if process.pid in earlier else read_high_water(process.pid)
                peaks[kind] = max(peaks.get(kind, 0), memory)
    return {kind: peak for kind, peak in peaks.items() if kind}


def name_kind(command: list[str]) -> str:
    """What a process is; empty when it is none of those that are measured."""
    text = " ".join(command)
    return next((kind for words, kind in KINDS.items() if words in text), "")


if __name__ == "__main__":
    print(json.dumps(watch(int(sys.argv[1]))))
