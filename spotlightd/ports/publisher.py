"""Ports for the outside web: documents of publishers, sockets of venues."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from spotlightd.model.source import Batch, Pages


@dataclass(frozen=True, slots=True)
class PublisherResponse:
    """An open response of a publisher: its headers, and its bytes as they arrive.

    `chunks` ends without an error only when the body is complete, within the size limit, and starts as it should.
    """

    url: str
    via: str
    etag: str
    last_modified: str
    media_type: str
    chunks: AsyncIterator[bytes]


class Publisher(Pages, Protocol):
    """The outside web as one source may see it: only its hosts, at its request rate."""

    def fetch(
        self, url: str, *, etag: str = "", last_modified: str = "", post: str | None = None, is_probe: bool = False
    ) -> AbstractAsyncContextManager[PublisherResponse | None]:
        """Request a document; None when it has not changed (304). PublisherError for every other answer.

        `post` and `is_probe` are those of its Link.
        """


class Publishers(Protocol):
    """Gives each source its Publisher. All of them share one request limit per host."""

    def for_source(self, source: Batch) -> Publisher: ...


class Socket(Protocol):
    """An open connection to a venue. Both calls raise FeedError once it has ended."""

    async def receive(self, seconds: float) -> bytes | None:
        """The next frame as it was sent; None when none arrived within that time. Pings and pongs are not frames."""

    async def send(self, text: str) -> None: ...


class Connect(Protocol):
    """Opens a connection to one of these hosts. FeedError when that fails. No error and no log contains the address."""

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
