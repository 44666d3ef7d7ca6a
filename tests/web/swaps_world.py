"""Constructed swap messages for the explorer's tests, and the rows that are derived from them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.datasets import swap_days, swap_live, swap_underliers
from spotlightd.datasets.swap_trades import lives
from spotlightd.datasets.swaps import swaps
from spotlightd.flows.derive.chains.runner import ChainRunner
from spotlightd.flows.derive.context import DeriveContext
from spotlightd.flows.derive.slices import SliceRunner
from spotlightd.flows.loads.publish import Publications
from spotlightd.model.dataset import Column, Dataset
from spotlightd.model.derived.chains import Chains
from tests.web.world import World, open_database, publish

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
    return tuple(known[column.name] if column.name in known else default_value(column) for column in swaps.columns)


def default_value(column: Column) -> Any:
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
        message(10, day=date(2023, 1, 2), expiration_date=date(2020, 1, 31), underlier_ids=[], underlier_sources=[], underlier_name="GAMESTOP CORP", notional_1=Decimal(7)),
    ]  # fmt: skip


DERIVATIONS = (swap_days.derivation, swap_underliers.derivation, lives, swap_live.derivation)
DATASETS = (swaps, *(dataset for derivation in DERIVATIONS for dataset in derivation.datasets))


@asynccontextmanager
async def open_market(world: World, name: str, folder: Path, datasets: Sequence[Dataset] = ()) -> AsyncIterator[World]:
    """A world of its own with the constructed messages, and everything that is derived from them."""
    async with (
        open_database(world, name, [*datasets, *DATASETS]) as market,
        SqliteLedger(folder / f"{name}.sqlite") as ledger,
    ):
        await publish(market, swaps, create_messages())
        context = DeriveContext(ledger, market.warehouse, Publications(ledger, market.warehouse))
        for derivation in DERIVATIONS:
            if isinstance(derivation, Chains):
                await ChainRunner(derivation, context).run_round()
            else:
                await SliceRunner(derivation, context).run_round()
        yield market
