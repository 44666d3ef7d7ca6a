"""What the tests of streams share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from spotlightd.demo.exchange import Script, exchanging
from tests.streams.place import Place

RATE = 1_000.0


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Place]:
    """A venue that makes a thousand ticks a second, and a state folder that no daemon has seen."""
    async with exchanging(Script(rate=RATE, ping_seconds=0.5)) as venue:
        yield Place(tmp_path, venue)
