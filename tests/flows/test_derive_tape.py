"""Credit index trades and overnight rates of a real day, compared with the same counted here from the publisher's files."""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pytest

from spotlightd import Rows
from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.datasets import cds_index_tape, ois_curve
from spotlightd.datasets.swap_trades import lives
from spotlightd.datasets.swaps import swaps
from spotlightd.flows.derive.chains.runner import ChainRunner
from spotlightd.flows.derive.context import DeriveContext
from spotlightd.flows.derive.slices import SliceRunner
from spotlightd.flows.loads.publish import Publications
from spotlightd.model.derivation import Derivation, RowsOf
from spotlightd.parse import columns
from spotlightd.sources.dtcc import cftc_credits, cftc_rates
from spotlightd.sql.changes import visible_rows
from spotlightd.sql.visibility import Snapshot
from spotlightd.workers.inline import parse_inline

from .world import source

GOLDEN = Path(__file__).parent.parent / "golden"
CREDITS = GOLDEN / "dtcc_cftc_credits/day_2026_07_15/CFTC_CUMULATIVE_CREDITS_2026_07_15.zip"
RATES = GOLDEN / "dtcc_cftc_rates/day_2026_07_15/CFTC_CUMULATIVE_RATES_2026_07_15.zip"
DAY = date(2026, 7, 15)
NEWEST = 2**63


@dataclass(frozen=True, slots=True)
class Market:
    """The real messages of both files, and what is derived from them."""

    warehouse: ClickHouse

    async def read(self, dataset: Any, condition: str = "1", **values: Any) -> list[dict[str, Any]]:
        names = ", ".join(f"`{column.name}`" for column in dataset.columns)
        sql = f"SELECT {names} FROM {visible_rows(dataset, Snapshot(NEWEST))} WHERE {condition}"
        return (await self.warehouse.rows(sql, {"seq": NEWEST, **values})).dicts()

    async def follow(self, rows_of: RowsOf, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows that a derived row was computed from."""
        return await self.read(rows_of.dataset, rows_of.where, **{name: row[name] for name in rows_of.parameters})


@pytest.fixture
async def market(tmp_path: Path, warehouse: ClickHouse) -> AsyncIterator[Market]:
    derivations: tuple[Derivation, ...] = (lives, cds_index_tape.derivation, ois_curve.derivation)
    for dataset in (swaps, *(dataset for derivation in derivations for dataset in derivation.datasets)):
        await warehouse.ensure(dataset)
    async with SqliteLedger(tmp_path / "ledger.sqlite") as ledger:
        publications = Publications(ledger, warehouse)
        for batch, path in ((cftc_credits.source, CREDITS), (cftc_rates.source, RATES)):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            load = await ledger.begin_load(replace(source(), name=batch.name, datasets=(swaps,)), digest, "2026/07/15")
            rows = [item.columns for item in parse_inline(batch, path, path.name) if isinstance(item, Rows)]
            count = sum(batch.num_rows for batch in rows)
            await warehouse.insert_stream(swaps, _stream(rows, load.load_id))
            await publications.publish(await ledger.mark_loaded(load.load_id, {"swaps": count}, ()))
        context = DeriveContext(ledger, warehouse, publications)
        assert await ChainRunner(lives, context).run_round() == 1361 + 3274
        for derivation in derivations[1:]:
            assert await SliceRunner(derivation, context).run_round() > 0
        yield Market(warehouse)


async def _stream(batches: list[pa.RecordBatch], load_id: int) -> AsyncIterator[bytes]:
    out, schema = io.BytesIO(), columns.stored_schema(swaps)
    with pa.ipc.new_stream(out, schema) as writer:
        for batch in batches:
            load = pa.repeat(pa.scalar(load_id, pa.uint64()), batch.num_rows)
            writer.write_batch(batch.append_column("load_id", load).select(schema.names).cast(schema))
    yield out.getvalue()


def read_messages(path: Path) -> Iterator[dict[str, str]]:
    with zipfile.ZipFile(path) as archive:
        yield from csv.DictReader(io.TextIOWrapper(archive.open(archive.namelist()[0]), "utf-8-sig"))


def fold(path: Path) -> list[dict[str, str]]:
    """One row a trade whose first message is in the file: the terms of that message, or of a correction after it."""
    messages = list(read_messages(path))
    by_id = {row["Dissemination Identifier"]: row for row in messages}
    trades: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in messages:
        root = row
        while root["Original Dissemination Identifier"] in by_id and root["Original Dissemination Identifier"] != root["Dissemination Identifier"]:  # fmt: skip
            root = by_id[root["Original Dissemination Identifier"]]
        original = root["Original Dissemination Identifier"]
        if not original or original == root["Dissemination Identifier"]:
            trades[root["Dissemination Identifier"]].append(row)
    folded = []
    for root_id, chain in trades.items():
        chain.sort(
            key=lambda row: (
                row["Event timestamp"],
                len(row["Dissemination Identifier"]),
                row["Dissemination Identifier"],
            )
        )
        if chain[-1]["Action type"] == "EROR":
            continue
        terms = chain[0] if chain[-1]["Action type"] in ("MODI", "TERM") else chain[-1]
        folded.append({**terms, "Event type": chain[0]["Event type"], "root": root_id})
    return folded


async def test_a_real_day(market: Market) -> None:
    """Both in one test, because the messages of the day are loaded for each test anew."""
    await check_tape(market)
    await check_curve(market)


async def check_tape(market: Market) -> None:
    """A credit index trade is one row with its price, and leads to its messages."""
    rows = {row["root_id"]: row for row in await market.read(cds_index_tape.cds_index_tape)}
    expected = {row["root"]: row for row in fold(CREDITS) if row["UPI FISN"] in cds_index_tape.PRODUCTS}
    assert rows.keys() == expected.keys()
    assert len(rows) == 1192
    for root, row in rows.items():
        printed = expected[root]
        assert row["credit_index"] == printed["UPI Underlier Name"].upper()
        notional = printed["Notional amount-Leg 1"] or printed["Notional amount-Leg 2"]
        assert row["capped"] == notional.endswith("+")
        assert row["notional"] == (Decimal(notional.strip("+").replace(",", "")) if notional else None)
        assert row["event_type"] == printed["Event type"]
        level = row["quoted_spread"] if row["quoted_price"] is None else row["quoted_price"] / 10_000
        spread = printed["Spread-Leg 1"]
        assert (level is None) == (not spread or Decimal(spread) == 0)
        assert level is None or level in (Decimal(spread), Decimal(spread) / 10_000)
    by_index = defaultdict(list)
    for row in rows.values():
        if row["tenor"] == "5Y" and not row["is_tranche"] and not row["package"] and row["event_type"] == "TRAD":
            by_index[row["credit_index"]].append(row)
    assert median(row["quoted_spread"] for row in by_index["CDX.NA.IG"] if row["quoted_spread"]) == Decimal("0.005127")
    assert 107 < median(row["quoted_price"] for row in by_index["CDX.NA.HY"] if row["quoted_price"]) < 109
    corrected = next(row for row in rows.values() if row["changes"])
    (trade,) = await market.follow(cds_index_tape.derivation.origins[0], corrected)
    messages = await market.follow(lives.origins[0], trade)
    assert len(messages) == trade["messages"] > 1
    assert {message["message_id"] for message in messages} >= {trade["root_id"], trade["last_message"]}


async def check_curve(market: Market) -> None:
    """A rate is the median of its prints, and leads to its trades."""
    points = await market.read(ois_curve.ois_curve, "day = {day:Date}", day=DAY)
    expected = expect_points()
    found = {(row["currency"], row["floating_index"], row["tenor"]): row for row in points}
    assert {key: row["prints"] for key, row in found.items()} == {key: len(rates) for key, rates in expected.items()}
    for key, row in found.items():
        assert abs(row["par_rate"] - median(expected[key])) <= Decimal("1e-13"), key
        assert (row["lowest"], row["highest"]) == (min(expected[key]), max(expected[key]))
        trades = await market.follow(ois_curve.derivation.origins[0], row) if key[2] in ("5Y", "10Y") else []
        assert not trades or {trade["root_id"] for trade in trades} == set(row["trades"])
    five = found["USD", "SOFR", "5Y"]
    assert five["prints"] > 30
    assert five["par_rate"] == Decimal("0.039877")


def expect_points() -> dict[tuple[str, str, str], list[Decimal]]:
    points = defaultdict(list)
    for row in fold(RATES):
        rate, name = row["Fixed rate-Leg 1"] or row["Fixed rate-Leg 2"], row["UPI FISN"]
        is_plain = (
            name.startswith("NA/Swap OIS ") and row["Event type"] == "TRAD" and rate and not row["Other payment amount"]
            and row["Non-standardized term indicator"].upper() != "TRUE" and row["Package indicator"].upper() != "TRUE"
            and not row["Package transaction price"] and not row["Package transaction spread"]
            and all(not row[f"Spread-Leg {leg}"] or Decimal(row[f"Spread-Leg {leg}"]) == 0 for leg in (1, 2))
            and "99999" not in rate
        )  # fmt: skip
        if not is_plain or not row["Expiration Date"]:
            continue
        traded = datetime.fromisoformat(row["Execution Timestamp"]).date()
        effective, last = date.fromisoformat(row["Effective Date"]), date.fromisoformat(row["Expiration Date"])
        days = (last - effective).days
        tenors = [name for name, length in ois_curve.TENORS.items() if abs(days - length) <= max(4, length * 0.02)]
        if traded == DAY and 0 <= (effective - traded).days <= ois_curve.SPOT_DAYS and tenors:
            printed = row["UPI Underlier Name"].upper()
            index = next((word for word in ois_curve.INDEXES if word in printed), row["UPI Underlier Name"])
            points[row["Notional currency-Leg 1"], index, tenors[0]].append(Decimal(rate))
    return points
