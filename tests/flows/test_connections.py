"""What a drain remembers of connections is bounded, and what it forgets is in the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.flows.stream import sequences
from spotlightd.flows.stream.sequences import KEYS, SequenceTracker
from tests.polling import until

from .constructed_ticks import numbered
from .stream_world import StreamWorld


def make_keys(connection: int, *numbers: int) -> Any:
    return np.array([(0, connection, number, 1) for number in numbers], dtype=KEYS)


def test_the_newest_connections_and_those_with_an_open_hole_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequences, "MOST_CONNECTIONS", 3)
    warehouse: Any = None  # not asked by `note`
    tracker = SequenceTracker(warehouse, "frames")
    tracker.note(make_keys(1, 0, 2))  # 1 is missing
    for connection in (2, 3, 4, 2, 5):
        tracker.note(make_keys(connection, 0, 1))
    assert set(tracker.highest) == {1, 2, 5}
    assert set(tracker.holes) == {1}
    assert tracker.durable_sequences(make_keys(5, 1)) == {5: 1}


def test_a_batch_of_more_connections_than_that_is_noted_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequences, "MOST_CONNECTIONS", 2)
    warehouse: Any = None
    tracker = SequenceTracker(warehouse, "frames")
    keys = np.concatenate([make_keys(connection, 0) for connection in range(1, 6)])
    tracker.note(make_keys(9, 0))
    tracker.note(keys)
    assert tracker.durable_sequences(keys) == dict.fromkeys(range(1, 6), 0)
    assert 9 not in tracker.highest


async def test_frames_of_a_forgotten_connection_that_come_again_are_known(
    tmp_path: Path, warehouse: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequences, "MOST_CONNECTIONS", 1)
    world = StreamWorld(tmp_path, warehouse)
    await world.prepare()
    async with world.stores() as stores, stores.run_drain() as flow:
        for first, connection in ((0, 7), (0, 8), (5, 7), (10, 8)):
            await world.send(numbered(10, connection=connection, first=first))
            await until(lambda: world.is_drained(flow))
        assert await stores.gaps() == []
    assert await world.query_value("SELECT sum(repeat) FROM constructed_frames") == 5
    assert await world.query_value("SELECT count() FROM constructed_frames") == 40
