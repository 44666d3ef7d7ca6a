"""Puts one document into a documents folder and dies at every system call of it in turn, in a child for each.

Run as a script with an empty folder; it prints one line of JSON per child. The parent has one thread, so forking is safe.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from spotlightd.clients.documents.folder import FolderDocuments

CALLS = ("open", "write", "fchmod", "fsync", "mkdir", "link", "close", "unlink")
PARTS = (b"constructed" * 100_000, b"rest" * 1000)


class Fuse:
    """Counts system calls on documents and kills this process before number `at` (or in the midst of a write)."""

    def __init__(self, at: int, note: int) -> None:
        self.at, self.note, self.count = at, note, 0

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            self.count += 1
            if self.count == self.at:
                os.pwrite(self.note, json.dumps({"at": self.at, "call": name}).encode() + b"\n", 0)
                if name == "write":
                    call(args[0], bytes(args[1])[: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **options)

        return wrapped


async def parts() -> AsyncIterator[bytes]:
    for part in PARTS:
        yield part


async def put(root: Path, fuse: Fuse) -> None:
    async with FolderDocuments(root) as documents:
        for name in CALLS:
            setattr(os, name, fuse.wrap(name, getattr(os, name)))
        await documents.put(parts())


def child(root: Path, at: int) -> int:
    """The child's exit status: 0 when `at` lies beyond the last call, -9 when it died there."""
    note = os.open(root.parent / "note", os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o600)
    pid = os.fork()
    if pid == 0:
        asyncio.run(put(root, Fuse(at, note)))
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    sys.stdout.write(os.pread(note, 1000, 0).decode())
    os.close(note)
    return os.waitstatus_to_exitcode(status)


def main(folder: Path) -> None:
    at = 1
    while child(folder / str(at) / "documents", at) == -signal.SIGKILL:
        at += 1
        (folder / str(at)).mkdir()


if __name__ == "__main__":
    (Path(sys.argv[1]) / "1").mkdir()
    main(Path(sys.argv[1]))
