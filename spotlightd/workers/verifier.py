"""The port `Verifier`: each archived file is read in a child process of its own, with limits, never in the daemon.

The child is new for each file, because a file is read for seconds and a start takes a third of one; so nothing of one
file, memory above all, is left when the next is read. One file at a time: the memory that is allowed is allowed once.
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
# Memory is kept between batches instead of being given back and faulted in again; one arena for each of two threads.
ENVIRONMENT = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class ChildVerifier:
    """`say` is told when a child has ended otherwise than by its answer."""

    def __init__(self, limits: Limits, say: Callable[..., Any] | None = None) -> None:
        self._limits, self._say = limits, say or (lambda *_, **__: None)
        self._turn = asyncio.Lock()

    async def fingerprint(self, path: Path, columns: Sequence[Column], time: str) -> Fingerprint:
        """Waits for its turn. StoreError when the file is not what it must be, and for whatever befalls the child."""
        request = {
            "path": str(path),
            "columns": [[column.name, column.type] for column in columns],
            "time": time,
            "threads": self._limits.threads,
        }
        async with self._turn:
            said, status = await self._asked(request, path)
        if status:
            raise StoreError(f"verifying {path.name}: {_death(status, self._limits)}")
        return _understood(said, path, self._limits)

    async def _asked(self, request: dict[str, Any], path: Path) -> tuple[bytes, int]:
        process = await _spawn(self._limits)
        try:
            async with asyncio.timeout(self._limits.wall_seconds):
                return await _heard(process, json.dumps(request).encode())
        except TimeoutError:
            raise StoreError(
                f"verifying {path.name} took more than {self._limits.wall_seconds:g} seconds (verifier.wall_seconds)"
            ) from None
        finally:
            await self._end(process)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            self._say("verifier child ended", pid=process.pid, why="no answer in time, or not wanted any more")
            with suppress(ProcessLookupError):
                process.kill()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await process.communicate()


async def _spawn(limits: Limits) -> asyncio.subprocess.Process:
    """An empty environment but for what keeps its memory small; a session of its own, so that ^C is the daemon's."""
    limited = (limits.memory_bytes, limits.cpu_seconds, os.getpid())
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-m", "spotlightd.workers.verifier_child", *map(str, limited)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=ENVIRONMENT,
            start_new_session=True,
        )
    except OSError as problem:
        raise StoreError(f"the verifier's child process could not be started: {problem}") from None


async def _heard(process: asyncio.subprocess.Process, request: bytes) -> tuple[bytes, int]:
    """What it said, as far as an answer can be long, and how it ended."""
    if process.stdin is None or process.stdout is None:
        raise StoreError("the verifier's child process has no pipes")
    with suppress(ConnectionError):  # a child that is gone says so by how it ended
        process.stdin.write(request)
        await process.stdin.drain()
    process.stdin.close()
    said = b""
    while len(said) <= ANSWER_BYTES and (more := await process.stdout.read(ANSWER_BYTES)):
        said += more
    if len(said) > ANSWER_BYTES:
        raise StoreError("the verifier's child process sent no proper answer: it does not stop talking")
    return said, await process.wait()


def _understood(said: bytes, path: Path, limits: Limits) -> Fingerprint:
    try:
        answer = json.loads(said)
        failed, starved = answer.get("failed"), answer.get("starved")
        numbers = answer.get("fingerprint", ())
        proper = all(type(one) is int for one in numbers) and len(numbers) == len(fields(Fingerprint))
    except (ValueError, TypeError, AttributeError):
        failed, starved, proper = None, None, False
    if starved:
        raise StoreError(f"verifying {path.name} {_starved(limits)}")
    if failed:
        raise StoreError(f"verifying {path.name}: {failed}")
    if not proper:
        raise StoreError(f"verifying {path.name}: the child process sent no proper answer: {said[:200]!r}")
    return Fingerprint(*numbers)


def _starved(limits: Limits) -> str:
    return f"takes more than {limits.memory_bytes >> 20:,} MiB of memory (verifier.memory_bytes)"


def _death(status: int, limits: Limits) -> str:
    if status == -signal.SIGXCPU:
        return f"it takes more than {limits.cpu_seconds} seconds of processor time (verifier.cpu_seconds)"
    if status == -signal.SIGKILL:
        return "the child process was killed, by a person or because the machine is out of memory"
    how = signal.Signals(-status).name if status < 0 else f"status {status}"
    return f"the child process ended without an answer ({how}): the file may be damaged, or it {_starved(limits)}"
