"""What the tests of the real process share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clients.publisher_server import ScriptedPublisher
from tests.daemon.place import Place, make_place


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """A publisher that has nothing yet, and a state folder that no daemon has seen."""
    async with ScriptedPublisher() as server:
        yield make_place(tmp_path, server)
