"""Constructed swap messages for the explorer's tests, and the rows that are derived from them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from spotlightd.datasets.swaps import swaps
from spotlightd.model.dataset import Column
from spotlightd.model.derivation import Derivation
from spotlightd.sql.visibility import visible_condition
from tests.web.world import World, publish

DAY = date(2026, 7, 15)
GME, AMC = "US36467W1099", "US00165C3025"


def message(
    number: int, action: str = "NEW", *, day: date = DAY, original: int | None = None, **values: Any
) -> tuple[Any, ...]:
    """A message about an equity swap on GME; `values` are other columns."""
    known: dict[str, Any] = {
        "publisher": "DTCC", "regime": "SEC", "report_date": day, "asset_class": "EQ", "schema_version": "V4",
        "message_id": f"{9 * 10**18 + number}", "original_id": f"{9 * 10**18 + original}" if original else "",
        "action": action, "action_printed": action[:4], "event_time": datetime(day.year, day.month, day.day, 12, number % 60, tzinfo=UTC),
        "upi_fisn": "NA/Swaps SglStk Tot Rtn", "notional_1": Decimal(1_000_000), "notional_currency_1": "USD",
        "notional_1_printed": "1,000,000", "underlier_ids": [GME], "underlier_sources": ["ISIN"],
    }  # fmt: skip
    known |= values
    return tuple(known[column.name] if column.name in known else _default(column) for column in swaps.columns)


def _default(column: Column) -> Any:
    if column.is_nullable:
        return None
    defaults: dict[str, Any] = {"list": [], "map": {}, "bool": False, "text": ""}
    return defaults[column.kind]


def create_messages() -> Sequence[tuple[Any, ...]]:
    """A trade that is changed and ended, one that is withdrawn, one that is capped, one in euros, one on a basket."""
    return [
        message(1, day=date(2026, 7, 6)),
        message(2, "MODIFY", original=1, day=date(2026, 7, 7), notional_1=Decimal(800_000), notional_1_printed="800,000"),
        message(3, "TERMINATE", original=2, notional_1=Decimal(800_000), event_type="ETRM"),
        message(4), message(5, "ERROR", original=4),
        message(6, asset_class="IR", regime="CFTC", upi_fisn="NA/Swap OIS USD", underlier_ids=[], underlier_sources=[],
                upi_underlier="USD-SOFR-COMPOUND", notional_1=Decimal(250_000_000), notional_1_printed="250,000,000+", notional_1_capped=True),
        message(7, notional_currency_1="EUR", notional_1=Decimal(5_000_000), underlier_ids=[AMC]),
        message(8, underlier_ids=[GME, AMC], underlier_sources=["ISIN", "ISIN"], upi_fisn="NA/Swaps Bskt Tot Rtn", notional_1=Decimal(3_000_000)),
        message(9, day=date(2024, 2, 1), publisher="ICE", asset_class="CR", underlier_ids=["GME.N"], underlier_name="GameStop Corp."),
    ]  # fmt: skip


async def publish_derived(world: World, derivation: Derivation) -> None:
    """The derived rows of all messages, as one load."""
    inputs = {
        dataset.name: f"(SELECT * FROM {dataset.name} WHERE {visible_condition(dataset)}) AS {dataset.name}"
        for dataset in derivation.inputs
    }
    (seq,) = (await world.warehouse.rows("SELECT max(seq) FROM loads")).rows[0]
    found = await world.warehouse.rows(derivation.slices.format_map(inputs), {"seq": seq})
    slices = sorted({row[0] for row in found.rows})
    names = ", ".join(column.name for column in derivation.dataset.columns)
    sql = f"SELECT {names} FROM ({derivation.select.format_map(inputs)})"
    answer = await world.warehouse.rows(sql, {"seq": seq, "slices": slices})
    await publish(world, derivation.dataset, answer.rows)
