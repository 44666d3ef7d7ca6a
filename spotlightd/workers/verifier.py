"""The port `Verifier`: a limited child process reads each archived file; the daemon never does.

Each file gets a new child: reading takes seconds and a start a third of one, and so nothing of one file, above all no
memory, remains when the next is read. One file is read at a time, so the memory limit applies once.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from spotlightd.errors import StoreError
from spotlightd.model.archive import Fingerprint
from spotlightd.model.dataset import Column
from spotlightd.settings.sources import VerifierSettings as Limits

ANSWER_BYTES = 1 << 16
END_SECONDS = 10.0
# The child keeps freed memory between batches instead of faulting it in again. One arena for each of two threads.
ENVIRONMENT = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class ChildVerifier:
    """`log` is called when a child was ended before it answered."""

    def __init__(self, limits: Limits, log: Callable[..., Any] | None = None) -> None:
        self._limits, self._log = limits, log or (lambda *_, **__: None)
        self._lock = asyncio.Lock()

    async def fingerprint(self, path: Path, columns: Sequence[Column], time: str) -> Fingerprint:
        """Waits until no other file is read. StoreError when the file is not as expected, or the child fails."""
        request = {
            "path": str(path),
            "columns": [[column.name, column.type] for column in columns],
            "time": time,
            "threads": self._limits.threads,
        }
        async with self._lock:
            output, status = await self._run_child(request, path)
        if status:
            raise StoreError(f"verifying {path.name}: {_describe_exit(status, self._limits)}")
        return _parse_answer(output, path, self._limits)

    async def _run_child(self, request: dict[str, Any], path: Path) -> tuple[bytes, int]:
        process = await _spawn(self._limits)
        try:
            async with asyncio.timeout(self._limits.wall_seconds):
                return await _communicate(process, json.dumps(request).encode())
        except TimeoutError:
            raise StoreError(
                f"verifying {path.name} took more than {self._limits.wall_seconds:g} seconds (verifier.wall_seconds)"
            ) from None
        finally:
            await self._reap(process)

    async def _reap(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            self._log("verifier child ended", pid=process.pid, why="no answer in time, or cancelled")
            with suppress(ProcessLookupError):
                process.kill()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await process.communicate()


async def _spawn(limits: Limits) -> asyncio.subprocess.Process:
    """The environment holds nothing but the memory settings. The child has its own session, so ^C reaches only the
    daemon.
    """
    arguments = (limits.memory_bytes, limits.cpu_seconds, os.getpid())
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-m", "spotlightd.workers.verifier_child", *map(str, arguments)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=ENVIRONMENT,
            start_new_session=True,
        )
    except OSError as problem:
        raise StoreError(f"the verifier's child process could not be started: {problem}") from None


async def _communicate(process: asyncio.subprocess.Process, request: bytes) -> tuple[bytes, int]:
    """The output of the child and its exit status. StoreError for more output than an answer can have."""
    if process.stdin is None or process.stdout is None:
        raise StoreError("the verifier's child process has no pipes")
    with suppress(ConnectionError):  # a dead child is noticed by its exit status
        process.stdin.write(request)
        await process.stdin.drain()
    process.stdin.close()
    output = b""
    while len(output) <= ANSWER_BYTES and (piece := await process.stdout.read(ANSWER_BYTES)):
        output += piece
    if len(output) > ANSWER_BYTES:
        raise StoreError("the verifier's child process sent no valid answer: it is too long")
    return output, await process.wait()


def _parse_answer(output: bytes, path: Path, limits: Limits) -> Fingerprint:
    try:
        answer = json.loads(output)
        error, is_out_of_memory = answer.get("error"), answer.get("out_of_memory")
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
