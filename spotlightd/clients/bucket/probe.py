"""What a bucket must be able to do, tried with an object of our own that is taken away again."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from typing import Protocol

from spotlightd.clients.bucket.threads import Threads
from spotlightd.errors import StoreError
from spotlightd.model.bucket import PROBES
from spotlightd.ports.storage import Object

SIZE = 64


class Probed(Protocol):
    """A bucket's calls, which block; each raises StoreError."""

    def create(self, key: str, body: bytes, digest: str) -> bool:
        """False when there is an object of that key, which stays as it is."""

    def get(self, key: str, first: int, length: int) -> bytes:
        """Exactly that many bytes."""

    def page(self, prefix: str, after: str) -> Sequence[Object]:
        """Some objects in order, behind that key."""

    def remove(self, key: str) -> None:
        """Of probes only."""


async def probe(threads: Threads, calls: Probed, where: str) -> None:
    """Try everything once. StoreError when the store does not answer, or with what it does not do."""
    key, said, other = f"{PROBES}{secrets.token_hex(12)}", secrets.token_bytes(SIZE), secrets.token_bytes(SIZE)
    if not await threads.run(calls.create, key, said, _digest(said)):
        raise StoreError(f"{where} says that a new object is there already: see whether it is really a store")
    tried: list[tuple[str, Callable[[], bool]]] = [
        ("create-only put", lambda: not calls.create(key, other, _digest(other)) and calls.get(key, 0, SIZE) == said),
        ("ranged get", lambda: calls.get(key, 16, 8) == said[16:24]),
        ("list", lambda: any((one.key, one.size) == (key, SIZE) for one in calls.page(PROBES, key[:-1]))),
        ("delete of its own probe", lambda: _gone(calls, key)),
    ]
    missing = [problem for name, work in tried if (problem := await _missing(threads, name, work))]
    if missing:
        raise StoreError(
            f"{where} does not do what is needed of it: {'; '.join(missing)}. Give the key these rights, or use another"
            " store"
        )


async def _missing(threads: Threads, name: str, work: Callable[[], bool]) -> str:
    try:
        return "" if await threads.run(work) else name
    except StoreError as problem:
        if problem.slow:
            raise
        return f"{name} ({problem})"


def _gone(calls: Probed, key: str) -> bool:
    calls.remove(key)
    return True


def _digest(said: bytes) -> str:
    return hashlib.sha256(said).hexdigest()
