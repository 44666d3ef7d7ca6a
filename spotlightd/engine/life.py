"""One life of the engine's process, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import Self

from spotlightd.engine.configuration import Configuration
from spotlightd.model.errors import StoreError

STOP_SECONDS = 6.0
LAST_WORDS_BYTES = 2000


class Life:
    """A process, what it says on standard error, and its end. Made by `begin`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._words = b""
        self._listening = asyncio.create_task(self._listen(), name="read the engine's errors")

    @classmethod
    async def begin(cls, told: Configuration, listening: int) -> Self:
        """Start the process. Its configuration goes through standard input, which stays open: its end is our death."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "spotlightd.engine",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=[listening],
            env=_environment(str(told.temporary)),
            start_new_session=True,
        )  # fmt: skip
        life = cls(process)
        if process.stdin is not None:
            process.stdin.write(told.text().encode() + b"\n")
        return life

    @property
    def pid(self) -> int:
        return self._process.pid if self._process.returncode is None else 0

    @property
    def last_words(self) -> str:
        return self._words.decode("utf-8", errors="replace").strip()

    async def ready(self, seconds: float) -> str:
        """How it is confined, once it answers. StoreError with its last words when it does not get there in time."""
        line = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                line = await self._process.stdout.readline() if self._process.stdout else b""
        if not line:
            await self.stop()
            raise StoreError(f"the engine did not start within {seconds:g} s: {self.last_words or 'it said nothing'}")
        return str(json.loads(line)["sandbox"])

    async def ended(self) -> int:
        """Wait for its end, whoever brings it about; the exit status (minus the signal)."""
        status = await self._process.wait()
        await asyncio.wait([self._listening], timeout=1)
        return status

    async def stop(self) -> None:
        """Ask it to end, and after a few seconds make it."""
        if self._process.returncode is None:
            if self._process.stdin is not None:
                self._process.stdin.close()
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._process.wait()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await self.ended()
        self._listening.cancel()

    async def _listen(self) -> None:
        while self._process.stderr is not None and (said := await self._process.stderr.read(LAST_WORDS_BYTES)):
            self._words = (self._words + said)[-LAST_WORDS_BYTES:]


def _environment(temporary: str) -> dict[str, str]:
    """All that the engine's process knows of the daemon's environment: nothing. Its zone is the engine's zone."""
    return {
        "TZ": "UTC",
        "LANG": "C.UTF-8",
        "TMPDIR": temporary,
        "HOME": temporary,
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
