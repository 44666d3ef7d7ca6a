"""Finishes or abandons the loads of an earlier process. Runs at start, before anything else is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from spotlightd.datasets.system import MIRRORED, hidden_rows
from spotlightd.errors import StoreError
from spotlightd.flows.loads.mirror import find_newest_id, restore_records
from spotlightd.flows.loads.publish import Publications, is_outdated
from spotlightd.log import logger
from spotlightd.model.dataset import Dataset
from spotlightd.model.provenance import Load
from spotlightd.ports.ledger import Ledger
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.tiers import Archives

MISSING = """
SELECT seq, groupArray(dataset) AS datasets, groupArray(rows) AS rows, any(load_id) AS load_id, any(source) AS source,
    any(covers) AS covers, any(document) AS document, any(parser) AS parser, any(rejects) AS rejects,
    any(supersedes) AS supersedes, any(published_at) AS published_at, any(derived_from) AS derived_from
FROM loads WHERE seq > {seq:UInt64} GROUP BY seq ORDER BY seq
"""


async def recover(
    ledger: Ledger, warehouse: Warehouse, publications: Publications, datasets: Sequence[Dataset], archives: Archives
) -> None:
    """Finish intended publications, mark unfinished loads dead, and delete the rows of dead loads."""
    await restore_records(ledger, warehouse, archives)
    adopted = await _adopt(ledger, warehouse, datasets, archives)
    published = await publications.resume()
    for load in await ledger.loads(states=("loaded",)):
        if await is_outdated(ledger, load):
            await ledger.mark_dead(load.load_id)
        else:
            await publications.publish(load)
            published += 1
    interrupted = await ledger.loads(states=("loading",))
    for load in interrupted:
        await ledger.mark_dead(load.load_id)
    swept = await sweep_dead_loads(ledger, warehouse, datasets)
    if adopted or published or interrupted or swept:
        logger().info("loads recovered", adopted=adopted, published=published, given_up=len(interrupted), swept=swept)


async def sweep_dead_loads(ledger: Ledger, warehouse: Warehouse, datasets: Iterable[Dataset]) -> int:
    """Delete the rows of dead loads. They were never visible; this frees disk space."""
    names = {dataset.name for dataset in datasets}
    dead = [load for load in await ledger.loads(states=("dead",)) if names.issuperset(load.datasets)]
    for name in {name for load in dead for name in load.datasets}:
        ids = [load.load_id for load in dead if name in load.datasets]
        await warehouse.execute(f"DELETE FROM {name} WHERE load_id IN {{ids:Array(UInt64)}}", {"ids": ids})
    if dead:
        await ledger.mark_swept([load.load_id for load in dead])
        logger().info("loads swept", loads=len(dead))
    return len(dead)


async def _adopt(ledger: Ledger, warehouse: Warehouse, datasets: Sequence[Dataset], archives: Archives) -> int:
    """Enter publications of the warehouse that the ledger lacks: its file was lost, or restored from a backup."""
    last = await ledger.newest_seq()
    missing = (await warehouse.rows(MISSING, {"seq": last or 0})).dicts()
    if not missing:
        return 0
    last_ids = {dataset.name: await find_newest_id(warehouse, dataset, archives.archived) for dataset in MIRRORED}
    loaded = [await _find_newest_load(warehouse, dataset.name) for dataset in datasets if dataset.by_load]
    noted = [await _find_newest_load(warehouse, hidden_rows.name, "by_load")] if hidden_rows in datasets else []
    last_ids["loads"] = max([*loaded, *noted, *(row["load_id"] for row in missing)])
    await ledger.adopt([_make_load(row) for row in missing], last_ids)
    for dataset in datasets:
        if dataset.by_load and last is None:
            await warehouse.execute(f"DELETE FROM {dataset.name} WHERE load_id NOT IN (SELECT load_id FROM loads)")
    return len(missing)


async def _find_newest_load(warehouse: Warehouse, table: str, column: str = "load_id") -> int:
    return int((await warehouse.rows(f"SELECT max({column}) FROM {table}")).rows[0][0])


def _make_load(row: dict[str, Any]) -> Load:
    if len(row["document"]) != len("0" * 64):
        raise StoreError(f"publication {row['seq']} in the warehouse names no document: {row['document']!r}")
    return Load(
        load_id=row["load_id"], source=row["source"], digest=row["document"], parser=row["parser"], covers=row["covers"],
        state="published", datasets=tuple(row["datasets"]), rows=dict(zip(row["datasets"], row["rows"], strict=True)),
        rejects=row["rejects"], seq=row["seq"], supersedes=tuple(row["supersedes"]), published_at=row["published_at"],
        derived_from=row["derived_from"], closed=True,
    )  # fmt: skip
