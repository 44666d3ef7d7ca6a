"""Shared by the tests of publishers: a constructed source and settings that point at the scripted server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from spotlightd.clients.http.publisher import HttpPublisher, HttpPublishers
from spotlightd.errors import PublisherError
from spotlightd.model.provenance import Body, Reject
from spotlightd.model.source import Batch, Expected, Link, OutsideRows, Pages, Rows
from spotlightd.settings import sources
from tests.clients.publisher_server import ScriptedPublisher
from tests.manual_clock import ManualClock

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
        "outside": OutsideRows.REFUSE,
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


class PublisherWorld:
    """A client of the scripted server, with a clock that advances only when the client sleeps."""

    def __init__(self, server: ScriptedPublisher, clock: ManualClock) -> None:
        self.server = server
        self.clock = clock
        self.open: list[HttpPublishers] = []

    async def publisher(self, source: dict[str, Any] | None = None, **changes: Any) -> HttpPublisher:
        publishers = await HttpPublishers(limits(self.server, **changes), clock=self.clock.to_clock()).__aenter__()
        self.open.append(publishers)
        return publishers.for_source(batch(**(source or {})))


async def fetch_all(publisher: HttpPublisher, url: str = URL) -> bytes:
    async with publisher.fetch(url) as fetched:
        assert fetched is not None
        return b"".join([chunk async for chunk in fetched.chunks])


async def get_refusal(publisher: HttpPublisher, url: str = URL) -> PublisherError:
    with pytest.raises(PublisherError) as caught:
        await fetch_all(publisher, url)
    assert type(caught.value) is PublisherError
    return caught.value
