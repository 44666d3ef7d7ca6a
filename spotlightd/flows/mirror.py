"""Copies the ledger's records into the warehouse, so that anyone can query what was fetched, tried and refused.

Where the copy stands is read from the copy itself (its highest id), so a crash between two steps needs no mending and
a copy that was thrown away is made again by the same code.
"""

from __future__ import annotations

from spotlightd.log import logger
from spotlightd.model.dataset import Dataset
from spotlightd.model.errors import StoreError
from spotlightd.model.house import MIRRORED
from spotlightd.model.ledger import Ledger
from spotlightd.model.ports import Warehouse

AT_ONCE = 10_000


async def mirror(ledger: Ledger, warehouse: Warehouse) -> int:
    """Copy what is new. Answers the number of records. One caller at a time."""
    copied = sum([await _table(ledger, warehouse, dataset) for dataset in MIRRORED])
    if copied:
        logger().debug("records mirrored", rows=copied)
    return copied


async def restore(ledger: Ledger, warehouse: Warehouse) -> int:
    """Take back what the copies have and the ledger has lost (a lost file, an old backup). Answers how many records."""
    return sum([await _back(ledger, warehouse, dataset) for dataset in MIRRORED])


async def _back(ledger: Ledger, warehouse: Warehouse, dataset: Dataset) -> int:
    newest, after, taken = await _newest(warehouse, dataset), 0, 0
    if not newest or await ledger.history(dataset.name, newest - 1, 1):
        return 0
    names = ", ".join(column.name for column in dataset.columns)
    sql = f"SELECT {names} FROM {dataset.name} WHERE id > {{after:UInt64}} ORDER BY id LIMIT {AT_ONCE}"
    while rows := (await warehouse.rows(sql, {"after": after})).rows:
        await ledger.restore(dataset.name, rows)
        taken, after = taken + len(rows), rows[-1][0]
    return taken


async def rebuild(ledger: Ledger, warehouse: Warehouse) -> int:
    """Throw the copies away and make them again. `loads` is no copy and is not touched."""
    for dataset in MIRRORED:
        await warehouse.execute(f"TRUNCATE TABLE {dataset.name}")
    return await mirror(ledger, warehouse)


async def _table(ledger: Ledger, warehouse: Warehouse, dataset: Dataset) -> int:
    copied, newest = 0, await _newest(warehouse, dataset)
    while rows := await ledger.history(dataset.name, newest, AT_ONCE):
        await warehouse.insert(dataset, rows)
        copied, newest = copied + len(rows), await _newest(warehouse, dataset)
        if newest != rows[-1][0]:
            raise StoreError(
                f"records of {dataset.name} were written, and are not there: is the warehouse's disk full?"
            )
    return copied


async def _newest(warehouse: Warehouse, dataset: Dataset) -> int:
    return int((await warehouse.rows(f"SELECT max(id) FROM {dataset.name}")).rows[0][0])
