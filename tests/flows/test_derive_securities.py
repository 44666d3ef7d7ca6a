"""Securities are computed year by year and dataset by dataset, and a corrected document has its year computed again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.datasets import system
from spotlightd.datasets.sec_ftd import sec_ftd
from spotlightd.datasets.securities import INPUTS, derivation, securities
from spotlightd.datasets.short_volume import short_volume
from spotlightd.flows.derive.context import DeriveContext
from spotlightd.flows.derive.slices import SliceRunner
from spotlightd.flows.loads.publish import Publications
from spotlightd.model.dataset import Dataset
from spotlightd.sql.visibility import Snapshot, table_expression
from tests.manual_clock import ManualClock

AT = datetime(2026, 11, 30, tzinfo=UTC)


def fail(day: date, cusip: str, symbol: str, name: str) -> tuple[Any, ...]:
    return day, cusip, symbol, 100, name, None


def volume(day: date, symbol: str) -> tuple[Any, ...]:
    return day, "CNMS", symbol, Decimal(1), None, Decimal(2), "Q"


async def publish(
    warehouse: ClickHouse, dataset: Dataset, seq: int, rows: Sequence[Any], replaced: Sequence[int] = ()
) -> None:
    await warehouse.insert(dataset, [(*row, 1000 + seq, 0, line) for line, row in enumerate(rows, 2)])
    load: tuple[Any, ...] = (
        seq,
        dataset.name,
        1000 + seq,
        "constructed",
        str(seq),
        "0" * 64,
        "1",
        len(rows),
        0,
        [*replaced],
        AT,
        0,
    )
    await warehouse.insert(system.loads, [load])


async def read_securities(warehouse: ClickHouse, seq: int = 1 << 62) -> dict[tuple[str, str], tuple[Any, ...]]:
    columns = "symbol, cusip, name, first_seen, last_seen, datasets, former_symbols"
    answer = await warehouse.rows(f"SELECT {columns} FROM {table_expression(securities, Snapshot(seq))}", {"seq": seq})
    return {(symbol, cusip): tuple(row) for symbol, cusip, *row in answer.rows}


async def test_a_year_of_a_dataset_is_computed_again_when_a_document_of_it_changes(
    warehouse: ClickHouse, tmp_path: Path
) -> None:
    for dataset in (*(source.dataset for source in INPUTS), securities):
        await warehouse.ensure(dataset)
    await publish(warehouse, sec_ftd, 1, [fail(date(2020, 3, 2), "000000001", "OLD", "SOME CORP")])
    await publish(
        warehouse,
        sec_ftd,
        2,
        [fail(date(2021, 3, 1), "000000001", "NEW", "SOME CORP"), fail(date(2021, 3, 1), "000000002", "", "X")],
    )
    await publish(warehouse, short_volume, 3, [volume(date(2021, 3, 1), "NEW")])
    async with SqliteLedger(tmp_path / "ledger.sqlite") as ledger:
        context, clock = DeriveContext(ledger, warehouse, Publications(ledger, warehouse)), ManualClock()
        runner = SliceRunner(derivation, context, clock.to_clock())
        assert await runner.run_round() == 3, "fails of 2020 and of 2021, volumes of 2021"
        assert await read_securities(warehouse) == {
            ("OLD", "000000001"): ("SOME CORP", date(2020, 3, 2), date(2020, 3, 2), ["sec_ftd"], []),
            ("NEW", "000000001"): ("SOME CORP", date(2021, 3, 1), date(2021, 3, 1), ["sec_ftd"], ["OLD"]),
            ("", "000000002"): ("X", date(2021, 3, 1), date(2021, 3, 1), ["sec_ftd"], []),
            ("NEW", ""): ("", date(2021, 3, 1), date(2021, 3, 1), ["short_volume"], []),
        }
        (before,) = (await warehouse.rows("SELECT max(seq) FROM loads")).rows[0]
        await publish(
            warehouse, sec_ftd, before + 1, [fail(date(2020, 3, 2), "000000001", "NEW", "SOME CORP OLD")], [1001]
        )
        clock.seconds += 60  # a slice is not computed again at once
        assert await runner.run_round() == 1, "fails of 2020"
        now, then = await read_securities(warehouse), await read_securities(warehouse, before)
        assert now["NEW", "000000001"] == ("SOME CORP", date(2020, 3, 2), date(2021, 3, 1), ["sec_ftd"], [])
        assert ("OLD", "000000001") not in now
        assert ("OLD", "000000001") in then
        assert await runner.compute_again() == 3
        assert await read_securities(warehouse) == now
