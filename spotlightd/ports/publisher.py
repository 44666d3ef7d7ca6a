"""Ports for the outside web: documents of publishers, sockets of venues."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from spotlightd.model.source import Batch, Pages


@dataclass(frozen=True, slots=True)
class Fetched:
    """An open answer of a publisher: what it says of itself, and its bytes as they come.

    `chunks` ends normally only when the body was complete, within the size limit, and began as it should.
    """

    url: str
    via: str
    etag: str
    last_modified: str
    media_type: str
    chunks: AsyncIterator[bytes]


class Publisher(Pages, Protocol):
    """The outside web as one source may see it: its hosts only, at its pace."""

    def fetch(
        self, url: str, *, etag: str = "", last_modified: str = ""
    ) -> AbstractAsyncContextManager[Fetched | None]:
        """Ask for a document; None when it has not changed (304). PublisherError otherwise."""


class Publishers(Protocol):
    """Hands each source its Publisher; the buckets of requests per host are shared by all of them."""

    def of(self, source: Batch) -> Publisher: ...


class Socket(Protocol):
    """An open connection to a venue. Both calls raise FeedError once it is over."""

    async def receive(self, seconds: float) -> bytes | None:
        """The next frame as it was sent; None when none came within that time. Pings and pongs are no frames."""

    async def send(self, text: str) -> None: ...


class Connect(Protocol):
    """Opens a connection to one of these hosts; FeedError when it cannot be. No error and no log names the address."""

    def __call__(
        self,
        url: str,
        hosts: Collection[str],
        *,
        connect_seconds: float,
        ping_seconds: float,
        max_frame_bytes: int,
        allow_private: bool,
    ) -> AbstractAsyncContextManager[Socket]: ...
