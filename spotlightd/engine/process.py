"""The engine's child process: the daemon starts it, watches it, restarts it, and stops it.

Address and password stay the same when the engine restarts. The daemon owns the listening socket and passes it on, so
that a request that arrives during a restart waits instead of being refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from spotlightd.backoff import Backoff
from spotlightd.engine.configuration import Configuration, blank_bucket_keys, compute_size
from spotlightd.engine.lock import LockedFolder
from spotlightd.errors import StoreError
from spotlightd.log import logger
from spotlightd.model.bucket import EngineReach
from spotlightd.settings.stores import EngineSettings

BACKLOG = 256
BACKOFF = Backoff(0.1, 10.0)
STABLE_SECONDS = 60.0  # after a run of that length the back-off begins anew
STOP_SECONDS = 6.0
MAX_ERROR_BYTES = 2000
USER = "spotlightd"

OnEvent = Callable[..., None]


class Engine:
    """The embedded engine. Open it with `async with`, inside `state_lock`; it is ready when it is open.

    Clients connect with `url`, `user` and `password`. `sandbox` is "Landlock ABI n", or the reason why there is none.
    `restarts` counts how often the engine died and was restarted. `pid` is its process, 0 while there is none.
    """

    def __init__(
        self,
        state: LockedFolder,
        settings: EngineSettings,
        *,
        database: str = "spotlightd",
        bucket: EngineReach | None = None,
        on_event: OnEvent | None = None,
        backoff: Backoff = BACKOFF,
    ) -> None:
        self._folder = state.folder / "engine"
        self._settings = settings
        self._database = database
        self._bucket = bucket or EngineReach()
        self._log: OnEvent = on_event or logger().info
        self._backoff = backoff
        self._socket = socket.socket()
        self._process: EngineProcess | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.user = USER
        self.password = secrets.token_urlsafe(32)
        self.sandbox = ""
        self.restarts = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    async def __aenter__(self) -> Self:
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._socket.bind(("127.0.0.1", 0))
            self._socket.listen(BACKLOG)
            self._process = await self._start()
        except OSError as problem:
            self._socket.close()
            raise StoreError(f"the engine cannot be started in {self._folder}: {problem}") from None
        except BaseException:
            self._socket.close()
            raise
        if not self.sandbox.startswith("Landlock"):
            self._log("engine not sandboxed", reason=self.sandbox)
        self._watcher = asyncio.create_task(self._watch(self._process), name="watch the engine")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
        if self._process is not None:
            await self._process.stop()
        self._socket.close()
        self._log("engine stopped")

    async def _start(self) -> EngineProcess:
        configuration = self._configuration()
        process = await EngineProcess.start(configuration, self._socket.fileno())
        self._log("engine started", pid=process.pid)
        try:
            self.sandbox = await process.wait_ready(self._settings.start_seconds)
            blank_bucket_keys(configuration)
        except BaseException:
            await process.stop()
            raise
        self._log("engine ready", pid=process.pid, sandbox=self.sandbox, url=self.url)
        return process

    async def _watch(self, process: EngineProcess) -> None:
        """Restart the engine whenever it dies, after a pause that doubles with each failure in a row."""
        failures = 0
        while True:
            started_at = time.monotonic()
            status = await process.wait()
            self._log("engine died", status=status, error_output=process.error_output)
            stable = time.monotonic() - started_at > STABLE_SECONDS
            process, failures = await self._restart(1 if stable else failures + 1)
            self._process = process
            self.restarts += 1
            self._log("engine restarted", pid=process.pid, restarts=self.restarts)

    async def _restart(self, failures: int) -> tuple[EngineProcess, int]:
        """Start the engine, trying until it starts; returns the number of failures in a row too."""
        while True:
            await asyncio.sleep(self._backoff.pause(failures))
            try:
                return await self._start(), failures
            except (StoreError, OSError) as problem:
                self._log("engine died", status=None, error_output=str(problem))
            failures += 1

    def _configuration(self) -> Configuration:
        size = compute_size(self._settings)
        return Configuration(
            folder=str(self._folder),
            database=self._database,
            user=self.user,
            password=self.password,
            socket_number=self._socket.fileno(),
            parent_pid=os.getpid(),
            memory_bytes=size.memory_bytes,
            query_memory_bytes=size.query_memory_bytes,
            threads=size.threads,
            readers=self._settings.readers,
            writers=self._settings.writers,
            download_slots=self._settings.download_slots,
            send_seconds=self._settings.send_seconds,
            start_seconds=self._settings.start_seconds,
            bucket=self._bucket,
        )


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

    async def wait_ready(self, seconds: float) -> str:
        """Wait until the engine is ready; returns the result of its confinement.

        StoreError, with the end of its error output, when it is not ready in time.
        """
        line = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                line = await self._process.stdout.readline() if self._process.stdout else b""
        if not line:
            await self.stop()
            reason = self.error_output or "it wrote no error"
            raise StoreError(f"the engine did not start within {seconds:g} s: {reason}")
        return str(json.loads(line)["sandbox"])

    async def wait(self) -> int:
        """Wait until the process ends, for whatever reason; returns its exit status (minus the signal)."""
        status = await self._process.wait()
        await asyncio.wait([self._error_reader], timeout=1)
        return status

    async def stop(self) -> None:
        """Ask the process to end, and kill it when it has not ended after a few seconds."""
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
