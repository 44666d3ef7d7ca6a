"""A real S3 server for the tests: one process on free ports of loopback, with keys drawn for this run."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Self
from urllib.error import URLError
from urllib.request import urlopen

from minio import Minio
from minio.error import MinioException
from urllib3.exceptions import HTTPError

from tests.real.kafka import free_ports

START_SECONDS = 60.0
REGION = "us-east-1"
BUCKET = "spotlightd"


class StoreMissingError(Exception):
    """There is no such server here; the text is the reason of a skip."""


class Store:
    """A server with its data in `folder`. `async with` starts it and ends it.

    Address and access keys stay the same over restarts. Subclasses define how it is started and when it is ready.
    """

    port_count = 1
    environment: Mapping[str, str] = {}
    ready_path = "/"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = free_ports(self.port_count)
        self.access_key = secrets.token_hex(10)
        self.secret_key = secrets.token_hex(20)
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def port(self) -> int:
        return self.ports[0]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        raise NotImplementedError

    def client(self) -> Minio:
        """A client with the access keys of the owner, who has all rights."""
        return Minio(f"127.0.0.1:{self.port}", self.access_key, self.secret_key, secure=False, region=REGION)

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            self.kill()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()

    async def start(self) -> None:
        """Start it and wait until it answers."""
        assert self._process is None
        self.folder.mkdir(parents=True, exist_ok=True)
        self._log = (self.folder / "server.log").open("ab")
        self._process = subprocess.Popen(
            self.command(),
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **self.environment},
            cwd=self.folder,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        async with asyncio.timeout(START_SECONDS):
            while not (await asyncio.to_thread(self._answers) and await asyncio.to_thread(self._has_bucket)):
                if self._process.poll() is not None:
                    raise RuntimeError(f"the store ended at once: {self._read_log()}")
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, and no connection is closed in order."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None
        if self._log:
            self._log.close()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, and no request is answered."""
        assert self._process
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process
        os.kill(self._process.pid, signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.url}{self.ready_path}", timeout=1) as response:
                return int(response.status) == 200
        except (URLError, OSError):
            return False

    def _has_bucket(self) -> bool:
        """Whether the bucket exists, created if it is missing. A store that answers may not be able to create it yet."""
        client = self.client()
        try:
            if not client.bucket_exists(BUCKET):
                client.make_bucket(BUCKET)
        except (MinioException, HTTPError):
            return False
        return True

    def _read_log(self) -> str:
        return (self.folder / "server.log").read_text(encoding="utf-8", errors="replace")[-2000:]
