"""Fixtures shared by the tests of the clients."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.clients.publisher_server import ScriptedPublisher
from tests.clients.publisher_world import PublisherWorld
from tests.manual_clock import ManualClock


@pytest.fixture
async def world() -> AsyncIterator[PublisherWorld]:
    clock = ManualClock()
    async with ScriptedPublisher(clock.now) as server:
        world = PublisherWorld(server, clock)
        yield world
        for publishers in world.open:
            await publishers.__aexit__()
