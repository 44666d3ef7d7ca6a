"""The port `Verifier`: a limited child process reads each archived file; the daemon never does.

Each file gets a new child: reading takes seconds and a start a third of one, and so nothing of one file, above all no
memory, remains when the next is read. One file is read at a time, so the memory limit applies once.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from spotlightd.errors import StoreError
from spotlightd.model.archive import Fingerprint
from spotlightd.model.dataset import Column
from spotlightd.settings.sources import VerifierSettings as Limits
from spotlightd.workers.child_process import ENVIRONMENT as ALL_CHILDREN
from spotlightd.workers.child_process import Output, limit_processor_time, make_start, run_child, warn_unless_confined

ANSWER_BYTES = 1 << 16
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
        self.confinement = ""

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
        async with self._lock:
            output = await self._run_child(request, path)
        if output.status:
            raise StoreError(f"verifying {path.name}: {_describe_exit(output.status, self._limits)}")
        self.confinement = warn_unless_confined("verifier", output.confinement, self.confinement, self._log)
        return _parse_answer(output.answer, path, self._limits)

    async def _run_child(self, request: dict[str, Any], path: Path) -> Output:
        limits = self._limits
        try:
            return await self._run_or_log(request)
        except TimeoutError:
            raise StoreError(
                f"verifying {path.name} took more than {limits.wall_seconds:g} seconds (verifier.wall_seconds)"
            ) from None
        except ValueError as problem:
            raise StoreError(
                f"verifying {path.name}: the verifier's child process sent no valid answer: {problem}"
            ) from None

    async def _run_or_log(self, request: dict[str, Any]) -> Output:
        seconds, module = self._limits.wall_seconds, "spotlightd.workers.verifier_child"
        try:
            return await run_child(module, request, seconds=seconds, environment=ENVIRONMENT, most_bytes=ANSWER_BYTES)
        except BaseException:
            self._log("verifier child ended", why="no answer in time, or cancelled")
            raise


def _parse_answer(output: bytes, path: Path, limits: Limits) -> Fingerprint:
    try:
        answer = json.loads(output)
        error, is_out_of_memory = answer.get("error") or answer.get("setting"), answer.get("out_of_memory")
        numbers = answer.get("fingerprint", ())
        is_valid = all(type(number) is int for number in numbers) and len(numbers) == len(fields(Fingerprint))
    except (ValueError, TypeError, AttributeError):
        error, is_out_of_memory, is_valid = None, None, False
    if is_out_of_memory:
        raise StoreError(f"verifying {path.name} {_describe_memory(limits)}")
    if error:
        raise StoreError(f"verifying {path.name}: {error}")
    if not is_valid:
        raise StoreError(f"verifying {path.name}: the child process sent no valid answer: {output[:200]!r}")
    return Fingerprint(*numbers)


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
