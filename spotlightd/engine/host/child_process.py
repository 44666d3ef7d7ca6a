"""The engine's process as the daemon holds it: started, awaited, asked to end, killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import Self

from spotlightd.engine.configuration import Configuration
from spotlightd.engine.host.ready import Ready, from_json
from spotlightd.errors import StoreError

MAX_ERROR_BYTES = 2000
READY_BYTES = 4 << 20  # it names each table that is not loaded, with the reason


class EngineProcess:
    """A running engine: the process and its output on standard error. Created by `start`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._error_output = b""
        self._error_reader = asyncio.create_task(self._read_errors(), name="read the engine's errors")

    @classmethod
    async def start(cls, configuration: Configuration, socket_number: int) -> Self:
        """Start the process and send it its configuration on standard input.

        Standard input stays open: when it ends, the daemon has died, and the engine ends too.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "spotlightd.engine",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=READY_BYTES,
            pass_fds=[socket_number],
            env=_environment(str(configuration.temporary)),
            start_new_session=True,
        )  # fmt: skip
        if process.stdin is not None:
            process.stdin.write(configuration.to_json().encode() + b"\n")
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid if self._process.returncode is None else 0

    @property
    def error_output(self) -> str:
        return self._error_output.decode("utf-8", errors="replace").strip()

    async def wait_ready(self, seconds: float) -> Ready:
        """Wait until the engine is ready; returns what it says then.

        StoreError, with the end of its error output, when it is not ready in time or says something else.
        """
        reason = ""
        try:
            async with asyncio.timeout(seconds):
                line = await self._process.stdout.readline() if self._process.stdout else b""
            if line:
                return from_json(line)
        except TimeoutError:
            pass
        except ValueError as problem:
            reason = f"it said something else than how it started: {problem}"
        await self.kill()
        reason = reason or self.error_output or "it wrote no error"
        raise StoreError(f"the engine did not start within {seconds:g} s: {reason}")

    async def wait(self) -> int:
        """Wait until the process ends, for whatever reason; returns its exit status (minus the signal)."""
        status = await self._process.wait()
        await asyncio.wait([self._error_reader], timeout=1)
        return status

    async def stop(self, seconds: float) -> None:
        """Ask the process to end, and kill it when it has not ended in time."""
        if self._process.returncode is None:
            if self._process.stdin is not None:
                self._process.stdin.close()
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End the process and all that it started, at once, even when they are stopped (SIGSTOP)."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        await self.wait()
        self._error_reader.cancel()

    async def _read_errors(self) -> None:
        while self._process.stderr is not None and (text := await self._process.stderr.read(MAX_ERROR_BYTES)):
            self._error_output = (self._error_output + text)[-MAX_ERROR_BYTES:]


def _environment(temporary: str) -> dict[str, str]:
    """The environment of the engine's process; nothing comes from the daemon's. TZ is the engine's time zone."""
    return {
        "TZ": "UTC",
        "LANG": "C.UTF-8",
        "TMPDIR": temporary,
        "HOME": temporary,
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
