"""The port `Verifier`: a limited child process reads each archived file; the daemon never does.

Each file gets a process of its own, and so nothing of one file, above all no memory, remains when the next is read. To start
one from nothing takes 0.2 s of processor time, so a child is kept that only forks (workers/verifying/fork_server.py),
while a caller has more files: for a round of the archiver, or for a bundle. After anything but a fingerprint it is ended
with its copy, and the next file gets a new one. One file is read at a time, so the memory limit applies once.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from spotlightd.confinement.answers import decode_json, read_fields, read_list, read_number, read_text
from spotlightd.errors import StoreError
from spotlightd.model.archive import Fingerprint
from spotlightd.model.dataset import Column
from spotlightd.settings.sources import VerifierSettings as Limits
from spotlightd.workers.child_process import ENVIRONMENT as ALL_CHILDREN
from spotlightd.workers.child_process import (
    FORK_ENTRY,
    MOST_CHARACTERS,
    Output,
    end_child,
    limit_processor_time,
    make_start,
    parse_output,
    start_child,
    warn_unless_confined,
)

ANSWER_BYTES = 1 << 19  # of the line with an answer: that is 64 KiB at most, and may be escaped
# The child keeps freed memory between batches instead of faulting it in again. One arena for each of two threads.
ENVIRONMENT = ALL_CHILDREN | {
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
}


class ChildVerifier:
    """`log` is called when a child was ended before it answered. `confinement` says how the last child was confined, and
    is empty before the first one.
    """

    def __init__(self, limits: Limits, log: Callable[..., Any] | None = None) -> None:
        self._limits, self._log = limits, log or (lambda *_, **__: None)
        self._lock = asyncio.Lock()
        self._child: asyncio.subprocess.Process | None = None
        self._keepers = 0
        self.confinement = ""

    @asynccontextmanager
    async def keep(self) -> AsyncIterator[None]:
        """While such a block runs, the child that forks is kept. It starts with the first file."""
        self._keepers += 1
        try:
            yield
        finally:
            self._keepers -= 1
            if not self._keepers:
                await self._end_child()

    async def fingerprint(self, path: Path, columns: Sequence[Column], time: str) -> Fingerprint:
        """Waits until no other file is read. StoreError when the file is not as expected, or the child fails."""
        request = {
            "path": str(path),
            "columns": [[column.name, column.type] for column in columns],
            "time": time,
            "threads": self._limits.threads,
        }
        rlimits = {"DATA": (self._limits.memory_bytes,) * 2} | limit_processor_time(self._limits.cpu_seconds)
        request |= make_start([str(path)], rlimits)
        async with self.keep(), self._lock:
            fingerprint: Fingerprint | None = None
            try:
                fingerprint = await self._read_file(request, path)
            finally:
                if fingerprint is None:
                    await self._end_child()
        return fingerprint

    async def _read_file(self, request: dict[str, Any], path: Path) -> Fingerprint:
        output = await self._ask_child(request, path)
        if output.status:
            raise StoreError(f"verifying {path.name}: {_describe_exit(output.status, self._limits)}")
        self.confinement = warn_unless_confined("verifier", output.confinement, self.confinement, self._log)
        return _parse_answer(output.answer, path, self._limits)

    async def _ask_child(self, request: dict[str, Any], path: Path) -> Output:
        limits = self._limits
        try:
            async with asyncio.timeout(limits.wall_seconds):
                return await self._exchange(request)
        except TimeoutError:
            self._log("verifier child ended", why="no answer in time")
            raise StoreError(
                f"verifying {path.name} took more than {limits.wall_seconds:g} seconds (verifier.wall_seconds)"
            ) from None
        except asyncio.CancelledError:
            self._log("verifier child ended", why="cancelled")
            raise
        except (ValueError, LookupError, TypeError) as problem:
            raise StoreError(
                f"verifying {path.name}: the verifier's child process sent no valid answer: {problem}"
            ) from None

    async def _exchange(self, request: dict[str, Any]) -> Output:
        """Send one request, and wait for what the copy printed and how it ended."""
        child = await self._ensure_child()
        if child.stdin is None or child.stdout is None:
            raise StoreError("the verifier's child process has no pipes")
        with suppress(ConnectionError):  # a dead child is noticed by the end of its output
            child.stdin.write(json.dumps(request).encode() + b"\n")
            await child.stdin.drain()
        line = await child.stdout.readline()
        if not line:
            return Output("", b"", await child.wait())
        status, output = read_fields(decode_json(line), "status", "output")
        return parse_output(read_text(output).encode(), read_number(status, 255, -signal.NSIG))

    async def _ensure_child(self) -> asyncio.subprocess.Process:
        if self._child is None or self._child.returncode is not None:
            self._child = await start_child(
                "spotlightd.workers.verifying.verifier_child",
                entry=FORK_ENTRY,
                environment=ENVIRONMENT,
                limit=ANSWER_BYTES,
            )
        return self._child

    async def _end_child(self) -> None:
        """End the child and its copy at once, and never use it again, even when the calling task is cancelled."""
        child, self._child = self._child, None
        if child is not None:
            await end_child(child)


def _parse_answer(output: bytes, path: Path, limits: Limits) -> Fingerprint:
    """The fingerprint. StoreError for the error that the child answers with, and for what is no answer."""
    try:
        answer = decode_json(output)
        names = answer.keys() if isinstance(answer, dict) else set[str]()
        if "out_of_memory" in names:
            raise StoreError(f"verifying {path.name} {_describe_memory(limits)}")
        if error := names & {"error", "setting"}:
            raise StoreError(f"verifying {path.name}: {read_text(answer[error.pop()], MOST_CHARACTERS)}")
        return Fingerprint(*_read_numbers(*read_fields(answer, "fingerprint")))
    except ValueError:
        raise StoreError(f"verifying {path.name}: the child process sent no valid answer: {output[:200]!r}") from None


def _read_numbers(value: Any) -> list[int]:
    numbers = [read_number(number, (1 << 64) - 1, -(1 << 63)) for number in read_list(value)]
    if len(numbers) != len(fields(Fingerprint)):
        raise ValueError("it is no fingerprint")
    return numbers


def _describe_memory(limits: Limits) -> str:
    return f"takes more than {limits.memory_bytes >> 20:,} MiB of memory (verifier.memory_bytes)"


def _describe_exit(status: int, limits: Limits) -> str:
    if status == -signal.SIGXCPU:
        return f"it takes more than {limits.cpu_seconds} seconds of processor time (verifier.cpu_seconds)"
    if status == -signal.SIGKILL:
        return "the child process was killed, by a person or because the machine is out of memory"
    how = signal.Signals(-status).name if status < 0 else f"status {status}"
    return (
        f"the child process ended without an answer ({how}): the file may be damaged, or it {_describe_memory(limits)}"
    )
