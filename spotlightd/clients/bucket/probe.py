"""Tests what a bucket must be able to do, with an object of our own that is deleted afterwards."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from typing import Protocol

from spotlightd.clients.bucket.threads import Threads
from spotlightd.errors import StoreError
from spotlightd.model.bucket import PROBE_PREFIX
from spotlightd.ports.storage import Object

SIZE = 64


class ProbeRequests(Protocol):
    """The requests of a bucket that the probe tries. They block; each raises StoreError."""

    def create(self, key: str, body: bytes, digest: str) -> bool:
        """False when there is an object of that key, which stays as it is."""

    def get(self, key: str, first: int, length: int) -> bytes:
        """Exactly that many bytes."""

    def list_page(self, prefix: str, after: str) -> Sequence[Object]:
        """The next objects in order, behind that key."""

    def remove(self, key: str) -> None:
        """Only for probes."""


async def run_probe(threads: Threads, requests: ProbeRequests, store: str) -> None:
    """Try each request once. StoreError when the store does not answer, or with the list of what it does not support."""
    key, body, other = f"{PROBE_PREFIX}{secrets.token_hex(12)}", secrets.token_bytes(SIZE), secrets.token_bytes(SIZE)
    if not await threads.run(requests.create, key, body, _digest(body)):
        raise StoreError(f"{store} answered that a new object exists already: check that it is really a store")

    def refuses_to_replace() -> bool:
        return not requests.create(key, other, _digest(other)) and requests.get(key, 0, SIZE) == body

    def lists_probe() -> bool:
        listed = requests.list_page(PROBE_PREFIX, key[:-1])
        return any((item.key, item.size) == (key, SIZE) for item in listed)

    def removes_probe() -> bool:
        requests.remove(key)
        return True

    trials: list[tuple[str, Callable[[], bool]]] = [
        ("create-only put", refuses_to_replace),
        ("ranged get", lambda: requests.get(key, 16, 8) == body[16:24]),
        ("list", lists_probe),
        ("delete of its own probe", removes_probe),
    ]
    missing = [failure for name, trial in trials if (failure := await _try(threads, name, trial))]
    if missing:
        raise StoreError(
            f"{store} does not support what is needed: {'; '.join(missing)}. Give the key these rights, or use another"
            " store"
        )


async def _try(threads: Threads, name: str, trial: Callable[[], bool]) -> str:
    """Empty when the trial succeeded, else what failed."""
    try:
        return "" if await threads.run(trial) else name
    except StoreError as problem:
        if problem.slow:
            raise
        return f"{name} ({problem})"


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
