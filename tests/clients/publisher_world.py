"""What the publisher's tests share: a constructed source, settings that point at the scripted server, a clock by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from spotlightd.clients.http.publisher import HttpPublisher, HttpPublishers
from spotlightd.clients.http.rate_limit import Clock
from spotlightd.errors import PublisherError
from spotlightd.model.provenance import Body, Reject
from spotlightd.model.source import Batch, Expected, Link, Pages, Rows
from spotlightd.settings import sources
from tests.clients.publisher_server import ScriptedPublisher

HOST = "www.publisher.invalid"
HOME = f"https://{HOST}"
PATH = "/fails.zip"
URL = HOME + PATH
ZIP = b"PK\x03\x04\x00constructed"


async def nothing_to_discover(_: Pages) -> AsyncIterator[Link]:
    return
    yield


def nothing_to_parse(_: Body) -> Iterator[Rows | Reject]:
    return iter(())


def batch(**changes: Any) -> Batch:
    """A source whose documents are zips of at most 1 MB."""
    usual: dict[str, Any] = {
        "name": "constructed",
        "title": "Constructed",
        "home": HOME,
        "datasets": (),
        "discover": nothing_to_discover,
        "parse": nothing_to_parse,
        "parser": "1",
        "hosts": (HOST,),
        "cron": "0 0 * * *",
        "expected": lambda day: Expected("2021", due=day),
        "begins_with": b"PK",
        "max_bytes": 1_000_000,
        "requests_per_second": 1000.0,
    }
    return Batch(**(usual | changes))


def limits(server: ScriptedPublisher, **changes: Any) -> sources.PublisherSettings:
    usual: dict[str, Any] = {
        "contact": "desk@newsroom.invalid",
        "connect_seconds": 5.0,
        "stall_seconds": 5.0,
        "total_seconds": 60.0,
        "attempts": 3,
        "mirrors": {HOST: server.url},
    }
    return sources.PublisherSettings(**(usual | changes))


@dataclass(slots=True)
class HandClock:
    """A clock that moves only when somebody sleeps by it. `slept` lists the pauses."""

    seconds: float = 1000.0
    slept: list[float] = field(default_factory=list)
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    chances: Iterator[float] = field(default_factory=lambda: iter(()))

    def now(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.moved.set()
        self.seconds += seconds
        await asyncio.sleep(0)

    def wall(self) -> datetime:
        return datetime(2021, 3, 1, tzinfo=UTC) + timedelta(seconds=self.seconds - 1000.0)

    def clock(self) -> Clock:
        return Clock(self.now, self.wall, self.sleep, lambda: next(self.chances, 0.5))


class Desk:
    """A client at the scripted server, by a clock that moves only when the client sleeps."""

    def __init__(self, server: ScriptedPublisher, hand: HandClock) -> None:
        self.server = server
        self.hand = hand
        self.open: list[HttpPublishers] = []

    async def publisher(self, source: dict[str, Any] | None = None, **changes: Any) -> HttpPublisher:
        publishers = await HttpPublishers(limits(self.server, **changes), clock=self.hand.clock()).__aenter__()
        self.open.append(publishers)
        return publishers.of(batch(**(source or {})))


async def whole(publisher: HttpPublisher, url: str = URL) -> bytes:
    async with publisher.fetch(url) as fetched:
        assert fetched is not None
        return b"".join([chunk async for chunk in fetched.chunks])


async def refusal(publisher: HttpPublisher, url: str = URL) -> PublisherError:
    with pytest.raises(PublisherError) as caught:
        await whole(publisher, url)
    assert type(caught.value) is PublisherError
    return caught.value
