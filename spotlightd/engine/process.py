"""The engine as the daemon sees it: a child process that is started, watched, started again, and ended.

Address and secret stay the same over a restart. The listening socket belongs to the daemon and is handed down, so
that a request that comes while the engine starts again waits for it instead of being refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import secrets
import socket
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from spotlightd.engine.configuration import Configuration, sized, without_keys
from spotlightd.engine.lock import Held
from spotlightd.errors import StoreError
from spotlightd.log import logger
from spotlightd.model.bucket import Reach
from spotlightd.settings.stores import EngineSettings

BACKLOG = 256
BACKOFF_SECONDS = 0.1
BACKOFF_MOST_SECONDS = 10.0
STEADY_SECONDS = 60.0
USER = "spotlightd"

OnEvent = Callable[..., None]


class Engine:
    """The embedded engine. Open it with `async with`, inside `state_lock`; it is ready when it is open.

    `url`, `user` and `password` let a client in; `sandbox` is "Landlock ABI n" or says why there is none; `restarts`
    counts how often it died and was started again; `pid` is its process, 0 while there is none.
    """

    def __init__(
        self,
        held: Held,
        settings: EngineSettings,
        *,
        database: str = "spotlightd",
        bucket: Reach | None = None,
        on_event: OnEvent | None = None,
        backoff_most_seconds: float = BACKOFF_MOST_SECONDS,
    ) -> None:
        self._folder = held.folder / "engine"
        self._settings = settings
        self._database = database
        self._bucket = bucket or Reach()
        self._tell: OnEvent = on_event or logger().info
        self._backoff_most = backoff_most_seconds
        self._socket = socket.socket()
        self._life: Life | None = None
        self._watching: asyncio.Task[None] | None = None
        self.user = USER
        self.password = secrets.token_urlsafe(32)
        self.sandbox = ""
        self.restarts = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    @property
    def pid(self) -> int:
        return self._life.pid if self._life is not None else 0

    async def __aenter__(self) -> Self:
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._socket.bind(("127.0.0.1", 0))
            self._socket.listen(BACKLOG)
            self._life = await self._start()
        except OSError as problem:
            self._socket.close()
            raise StoreError(f"the engine cannot be started in {self._folder}: {problem}") from None
        except BaseException:
            self._socket.close()
            raise
        if not self.sandbox.startswith("Landlock"):
            self._tell("engine not sandboxed", reason=self.sandbox)
        self._watching = asyncio.create_task(self._watch(self._life), name="watch the engine")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        if self._life is not None:
            await self._life.stop()
        self._socket.close()
        self._tell("engine stopped")

    async def _start(self) -> Life:
        told = self._configuration()
        life = await Life.begin(told, self._socket.fileno())
        self._tell("engine started", pid=life.pid)
        try:
            self.sandbox = await life.ready(self._settings.start_seconds)
            without_keys(told)
        except BaseException:
            await life.stop()
            raise
        self._tell("engine ready", pid=life.pid, sandbox=self.sandbox, url=self.url)
        return life

    async def _watch(self, life: Life) -> None:
        """Start the engine again whenever it dies, at once at first and then more and more patiently."""
        pause = BACKOFF_SECONDS
        while True:
            born = time.monotonic()
            status = await life.ended()
            self._tell("engine died", status=status, last_words=life.last_words)
            if time.monotonic() - born > STEADY_SECONDS:
                pause = BACKOFF_SECONDS
            life = await self._again(pause)
            pause = min(pause * 2, self._backoff_most)
            self._life = life
            self.restarts += 1
            self._tell("engine restarted", pid=life.pid, restarts=self.restarts)

    async def _again(self, pause: float) -> Life:
        while True:
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  jitter, not a secret
            try:
                return await self._start()
            except (StoreError, OSError) as problem:
                self._tell("engine died", status=None, last_words=str(problem))
            pause = min(pause * 2, self._backoff_most)

    def _configuration(self) -> Configuration:
        size = sized(self._settings)
        return Configuration(
            folder=str(self._folder),
            database=self._database,
            user=self.user,
            password=self.password,
            listening=self._socket.fileno(),
            parent=os.getpid(),
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
