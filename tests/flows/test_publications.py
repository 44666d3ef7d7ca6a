"""What is known of the publications is right at every look, and a look reads only the newer ones."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.datasets.system import loads
from spotlightd.flows.upkeep.publications import PublicationCounter, Published
from spotlightd.ports.warehouse import Answer

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Asked:
    """A warehouse that keeps the statements it was asked."""

    def __init__(self, warehouse: ClickHouse) -> None:
        self._warehouse = warehouse
        self.statements: list[str] = []

    async def rows(self, sql: str, values: Mapping[str, Any] | None = None) -> Answer:
        self.statements.append(sql)
        return await self._warehouse.rows(sql, values or {})


def publication(seq: int, rows: int, *, supersedes: tuple[int, ...] = (), dataset: str = "days") -> tuple[Any, ...]:
    return seq, dataset, seq, "constructed", "2021", "0" * 64, "1", rows, 0, list(supersedes), NOON, 0


async def test_a_look_reads_only_what_is_newer_than_the_last(warehouse: ClickHouse) -> None:
    asked = Asked(warehouse)
    counter = PublicationCounter(asked)  # type: ignore[arg-type]
    await warehouse.insert(loads, [publication(1, 5), publication(2, 7)])
    assert await counter.count({}) == {"days": Published(2, 12)}
    asked.statements.clear()
    await warehouse.insert(loads, [publication(3, 1), publication(4, 2, dataset="others")])
    assert await counter.count({}) == {"days": Published(3, 13), "others": Published(1, 2)}
    assert await counter.count({}) == {"days": Published(3, 13), "others": Published(1, 2)}
    assert all("WHERE seq >= {seq:UInt64}" in sql for sql in asked.statements)
    assert len(asked.statements) == 2


async def test_all_are_counted_again_when_one_supersedes_or_the_table_went_back(warehouse: ClickHouse) -> None:
    counter = PublicationCounter(warehouse)
    await warehouse.insert(loads, [publication(1, 5), publication(2, 7)])
    await counter.count({})
    await warehouse.insert(loads, [publication(3, 6, supersedes=(1,))])
    assert await counter.count({}) == {"days": Published(3, 13)}
    assert await counter.count({"days": 2}) == {"days": Published(1, 6)}
    await warehouse.execute("TRUNCATE TABLE loads")
    assert await counter.count({"days": 2}) == {}
    await warehouse.insert(loads, [publication(1, 5)])
    assert await counter.count({}) == {"days": Published(1, 5)}


async def test_a_counter_that_remembers_says_what_a_new_one_says(warehouse: ClickHouse) -> None:
    randomness, remembering, seq = random.Random(7), PublicationCounter(warehouse), 0
    visible: list[int] = []
    for _ in range(12):
        rows = []
        for _ in range(randomness.randrange(4)):
            seq += 1
            replaced = (
                (visible.pop(randomness.randrange(len(visible))),) if visible and randomness.random() < 0.2 else ()
            )
            visible.append(seq)
            rows.append(publication(seq, randomness.randrange(9), supersedes=replaced))
        if rows:
            await warehouse.insert(loads, rows)
        losses = {"days": 5} if seq > 12 else {}
        assert await remembering.count(losses) == await PublicationCounter(warehouse).count(losses)
