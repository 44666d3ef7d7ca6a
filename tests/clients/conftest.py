"""What the tests of the clients share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.clients.publisher_server import ScriptedPublisher
from tests.clients.publisher_world import Desk, HandClock


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    hand = HandClock()
    async with ScriptedPublisher(hand.now) as server:
        desk = Desk(server, hand)
        yield desk
        for publishers in desk.open:
            await publishers.__aexit__()
