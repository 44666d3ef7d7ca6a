"""The engine's child process: the daemon starts it, watches it, restarts it, and stops it.

Address and password stay the same when the engine restarts. The daemon owns the listening socket and passes it on, so
that a request that arrives during a restart waits instead of being refused.

A process that lives need not answer: it may be stopped, or hang in the handler of its own crash. So the engine is probed
(`host/probe.py`), and one that does not answer is killed and started again like one that died.
"""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from spotlightd.backoff import Backoff
from spotlightd.confinement.confine import is_whole
from spotlightd.engine.configuration import Configuration, blank_bucket_keys, compute_size
from spotlightd.engine.host.child_process import EngineProcess
from spotlightd.engine.host.probe import WHILE_RUNNING, WHILE_STOPPING, Probing, is_answered, wait_until_deaf
from spotlightd.engine.host.ready import DetachedTable
from spotlightd.engine.lock import LockedFolder
from spotlightd.errors import StoreError
from spotlightd.log import logger
from spotlightd.model.bucket import EngineReach
from spotlightd.settings.stores import EngineSettings

BACKLOG = 256
BACKOFF = Backoff(0.1, 10.0)
STABLE_SECONDS = 60.0  # after a run of that length the back-off begins anew
STOP_SECONDS = 6.0
LAST_SECONDS = 7.0  # so long after the daemon began to stop, the engine is killed at the latest
USER = "spotlightd"

OnEvent = Callable[..., None]


class Engine:
    """The embedded engine. Open it with `async with`, inside `state_lock`; it is ready when it is open.

    Clients connect with `url`, `user` and `password`. `sandbox` says what confines it, and what is missing;
    `detached` are the tables that it did not load.
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
        probing: Probing = WHILE_RUNNING,
    ) -> None:
        self._folder = state.folder / "engine"
        self._settings = settings
        self._database = database
        self._bucket = bucket or EngineReach()
        self._log: OnEvent = on_event or logger().info
        self._backoff = backoff
        self._probing = probing
        self._socket = socket.socket()
        self._address = ("127.0.0.1", 0)
        self._process: EngineProcess | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._last_moment = math.inf
        self.user = USER
        self.password = secrets.token_urlsafe(32)
        self.sandbox = ""
        self.detached: tuple[DetachedTable, ...] = ()
        self.restarts = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._address[1]}"

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    async def __aenter__(self) -> Self:
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._socket.bind(self._address)
            self._address = self._socket.getsockname()
            self._socket.listen(BACKLOG)
            self._process = await self._start()
        except OSError as problem:
            self._socket.close()
            raise StoreError(f"the engine cannot be started in {self._folder}: {problem}") from None
        except BaseException:
            self._socket.close()
            raise
        if not is_whole(self.sandbox):
            self._log("child not confined", child="engine", confinement=self.sandbox)
        self._watcher = asyncio.create_task(self._watch(self._process), name="watch the engine")
        return self

    def begin_stop(self) -> None:
        """The daemon begins to stop: from now on an engine that is dead or does not answer stays down, and requests to
        it fail at once instead of waiting for a restart.
        """
        self._last_moment = time.monotonic() + LAST_SECONDS
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = asyncio.create_task(self._watch_last(self._watcher), name="watch the engine at the end")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
        if self._process is not None and self._process.pid:
            await self._end(self._process)
        self._socket.close()
        self._log("engine stopped")

    async def _end(self, process: EngineProcess) -> None:
        """End the engine. One that does not answer would not hear the request to end either."""
        if await is_answered(self._address, WHILE_STOPPING.answer_seconds):
            await process.stop(min(STOP_SECONDS, self._last_moment - time.monotonic()))
        else:
            await process.kill()

    async def _start(self) -> EngineProcess:
        configuration = self._configuration()
        process = await EngineProcess.start(configuration, self._socket.fileno())
        self._log("engine started", pid=process.pid)
        try:
            ready = await process.wait_ready(self._settings.start_seconds)
            blank_bucket_keys(configuration)
        except BaseException:
            await process.kill()  # it has no work yet that could be finished
            raise
        self.sandbox, self.detached = ready.sandbox, ready.detached
        for table in ready.detached:
            self._log("engine table detached", table=table.name, reason=table.reason)
        self._log("engine ready", pid=process.pid, sandbox=self.sandbox, url=self.url)
        return process

    async def _watch(self, process: EngineProcess) -> None:
        """Restart the engine whenever it dies, after a pause that doubles with each failure in a row."""
        failures = 0
        while True:
            started_at = time.monotonic()
            status = await self._wait_for_end(process)
            self._log("engine died", status=status, error_output=process.error_output)
            stable = time.monotonic() - started_at > STABLE_SECONDS
            process, failures = await self._restart(1 if stable else failures + 1)
            self._process = process
            self.restarts += 1
            self._log("engine restarted", pid=process.pid, restarts=self.restarts)

    async def _wait_for_end(self, process: EngineProcess) -> int:
        """Wait until the process ends, by itself or because it is killed when it no longer answers."""
        prober = asyncio.create_task(self._kill_when_deaf(process), name="probe the engine")
        try:
            return await process.wait()
        finally:
            prober.cancel()
            await asyncio.wait([prober])

    async def _kill_when_deaf(self, process: EngineProcess) -> None:
        await wait_until_deaf(self._address, self._probing)
        self._log("engine hung", pid=process.pid, seconds=self._probing.silent_seconds)
        await process.kill()

    async def _watch_last(self, watcher: asyncio.Task[None]) -> None:
        """Until the daemon has stopped: as soon as the engine does not answer, end it and refuse connections to it."""
        await asyncio.wait([watcher])
        if self.pid:
            await wait_until_deaf(self._address, WHILE_STOPPING)
        self._socket.close()
        if self._process is not None:
            await self._process.kill()

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
