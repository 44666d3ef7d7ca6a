"""Notes again which rows are hidden, for a table `hidden_rows` that lost them.

What a publication noted follows from the rows that were visible at it, and no row of a published load is ever deleted. So the
publications are gone through in their order, each as of its own number: `as_of` reads as before too. That takes one or two
queries for each load that a dataset with repeated keys has ever had, which is why a table is filled this way only after a loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from spotlightd.flows.loads.repeats import hide_repeated_keys
from spotlightd.model.dataset import Dataset
from spotlightd.model.source import Period
from spotlightd.ports.ledger import Ledger
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.days import EPOCH_DAY
from spotlightd.sql.tiers import ArchivedPartitions
from spotlightd.sql.visibility import all_rows


async def note_hidden_rows_again(
    ledger: Ledger, warehouse: Warehouse, archived: ArchivedPartitions, datasets: Sequence[Dataset]
) -> int:
    """Empty `hidden_rows`, and fill it from the loaded rows of these datasets. Returns how many rows it has then."""
    await warehouse.execute("TRUNCATE TABLE hidden_rows SYNC")
    published = sorted(await ledger.loads(states=("published",)), key=lambda load: load.seq)
    for dataset in datasets:
        periods = await _read_periods(warehouse, archived, dataset)
        for load in (load for load in published if load.load_id in periods):
            await hide_repeated_keys(
                warehouse, archived, dataset, load, periods[load.load_id], load.supersedes, seq=load.seq
            )
    return int((await warehouse.rows("SELECT count() FROM hidden_rows")).rows[0][0])


async def _read_periods(warehouse: Warehouse, archived: ArchivedPartitions, dataset: Dataset) -> dict[int, Period]:
    """The days of the rows of each load."""
    first, last = (f"toInt32(toDate32({bound}(`{dataset.time}`)))" for bound in ("min", "max"))
    sql = f"SELECT load_id, {first}, {last} FROM {all_rows(dataset, archived)} GROUP BY load_id"
    return {
        load_id: Period(date.fromordinal(EPOCH_DAY + first), date.fromordinal(EPOCH_DAY + last))
        for load_id, first, last in (await warehouse.rows(sql)).rows
    }
