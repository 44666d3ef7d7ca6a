"""Prepares the tables at a start, and makes one again that lost its rows when an operator asks for it.

A missing table is made only if nobody knows rows of it. What is made new gets the generations of its sealed partitions:
rows of generation 0 on a sealed day would be hidden behind the copy in the bucket.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spotlightd.datasets.system import SYSTEM_DATASETS, hidden_rows
from spotlightd.datasets.system import archives as archives_table
from spotlightd.datasets.system import loads as loads_table
from spotlightd.errors import SettingsError, StoreError
from spotlightd.flows.archive.plan import next_generations
from spotlightd.flows.loads.hidden import note_hidden_rows_again
from spotlightd.flows.loads.publish import make_publication_rows
from spotlightd.flows.loads.recovery import recover
from spotlightd.flows.transform import TransformRunner
from spotlightd.flows.upkeep.doubled_keys import DoubledKeys
from spotlightd.flows.upkeep.publications import PublicationCounter
from spotlightd.flows.upkeep.scorecard.flow import Scorecard
from spotlightd.flows.upkeep.table_watch import TableWatch
from spotlightd.flows.upkeep.tables import INDEXES, TableFacts, compare_index, list_tables
from spotlightd.model.dataset import Dataset
from spotlightd.model.offsets import Position
from spotlightd.model.source import Batch
from spotlightd.model.stream import frames_of
from spotlightd.model.text import count
from spotlightd.ports.ledger import ArchiveLedger, Job, Positions
from spotlightd.ports.metrics import Metrics
from spotlightd.ports.warehouse import Warehouse
from spotlightd.runtime.catalog import Catalog
from spotlightd.runtime.derivations import make_derivation_runner
from spotlightd.sql.tiers import Archives

if TYPE_CHECKING:
    from spotlightd.flows.gate import Gate
    from spotlightd.runtime.instance import Instance


def make_table_watch(
    warehouse: Warehouse,
    archive_ledger: ArchiveLedger,
    positions: Positions,
    archives: Archives,
    catalog: Catalog,
    gate: Gate,
) -> TableWatch:
    datasets = (*catalog.datasets, *SYSTEM_DATASETS)
    facts = TableFacts(
        warehouse, PublicationCounter(warehouse), archive_ledger, positions, archives, datasets, catalog.streams,
        _describe_remedies(catalog),
    )  # fmt: skip
    return TableWatch(facts, gate)


def make_key_watch(instance: Instance) -> DoubledKeys:
    """The flow that looks for keys of documents that are visible twice."""
    datasets = {dataset.name: dataset for source in instance.catalog.sources for dataset in source.datasets}
    return DoubledKeys(instance.warehouse, instance.archives, list(datasets.values()), instance.gate)


def make_scorecard(instance: Instance, sources: Sequence[Batch], metrics: Metrics) -> Scorecard:
    """The flow that judges the sources that are collected."""
    judged_on = instance.settings.schedule.judged_on
    return Scorecard(instance.warehouse, instance.archives, sources, metrics, instance.gate, judged_on)


def _describe_remedies(catalog: Catalog) -> dict[str, str]:
    """What `rebuild` does with each table."""
    remedies = {"loads": "makes it again from the ledger"}
    for batch in catalog.sources:
        remedies |= {dataset.name: "has its documents loaded again from the stored bytes" for dataset in batch.datasets}
    for stream in catalog.streams:
        remedies[stream.dataset.name] = "has its frames decoded again"
        remedies[frames_of(stream).name] = "makes an empty one: nothing can make the frames again"
    for computed in catalog.computed:
        remedies |= {dataset.name: "computes its rows again" for dataset in computed.datasets}
    for dataset in SYSTEM_DATASETS:
        if dataset.name not in INDEXES:
            remedies[dataset.name] = "makes an empty one: nothing can make its rows again"
    remedies[hidden_rows.name] = "notes again which of the loaded rows are hidden, as the next start does"
    return remedies


async def prepare_tables(instance: Instance, rebuild: str = "") -> None:
    """Create missing tables and columns, then recover what a crash left. A table that lost its rows is left alone, but for
    `hidden_rows`: all that it had follows from other tables.

    `rebuild`: the table that an operator wants made again, whatever is missing. StoreError when an index is missing.
    """
    warehouse, archives, watch = instance.warehouse, instance.archives, instance.tables
    existing = await list_tables(warehouse)
    await _require_indexes(instance, existing, rebuild)
    for dataset in (loads_table, archives_table):  # first: which rows are visible, and which are in the bucket
        await warehouse.ensure(dataset)
    if rebuild == loads_table.name:
        await _refill_loads(instance)
    await archives.refresh()
    stale, past = await compare_index(instance.ledger, instance.partitions, warehouse)
    watch.start_from(stale, past)
    await watch.check()
    present = [
        dataset for dataset in instance.datasets if dataset.name not in watch.missing - {rebuild, hidden_rows.name}
    ]
    for dataset in sorted(present, key=lambda dataset: dataset.by_load):  # records first: views of the others read them
        await _make_table(instance, dataset, is_new=dataset.name not in existing)
    if stale is None:
        await recover(instance.ledger, warehouse, instance.publications, present, archives)
        if rebuild != hidden_rows.name and _can_hide_again(instance):
            await _hide_rows_again(instance)


async def _require_indexes(instance: Instance, existing: frozenset[str], rebuild: str) -> None:
    """StoreError when a table is missing that every read needs, although something was published or archived."""
    partitions = await instance.partitions.partitions()
    known = {
        loads_table.name: await instance.ledger.newest_seq("published") is not None,
        archives_table.name: any(partition.stage in ("switched", "dropped") for partition in partitions),
    }
    for name, was_used in known.items():
        if was_used and name not in existing and name != rebuild:
            raise StoreError(instance.tables.describe_missing_index(name))


async def _make_table(instance: Instance, dataset: Dataset, *, is_new: bool) -> None:
    await instance.warehouse.ensure(dataset, instance.archives.archived)
    partitions = [partition for partition in await instance.partitions.partitions() if partition.stage != "planned"]
    generations = next_generations(partitions, dataset.name)
    if is_new and generations:
        await instance.warehouse.seal(dataset, generations)


async def _refill_loads(instance: Instance) -> None:
    """Write the publications of the ledger into the table that lacks them."""
    present = {seq for (seq,) in (await instance.warehouse.rows("SELECT DISTINCT seq FROM loads")).rows}
    published = [load for load in await instance.ledger.loads(states=("published",)) if load.seq not in present]
    rows = [row for load in sorted(published, key=lambda load: load.seq) for row in make_publication_rows(load)]
    await instance.warehouse.insert(loads_table, rows)


async def make_table_again(instance: Instance, name: str) -> str:
    """Make a table usable that lost its rows, and have its rows made again where that is possible. Returns what was done
    and what is to come, as a sentence. SettingsError when the table has lost nothing, and
    no derivation computes it.
    """
    defects = [defect for defect in instance.tables.defects if defect.table == name]
    if name == loads_table.name:
        return "all publications of the ledger are in the table loads"
    for derivation in instance.catalog.derivations:
        if name in {dataset.name for dataset in derivation.datasets}:
            if defects:
                await _accept_losses(instance, name)
            computed = await make_derivation_runner(derivation, instance).compute_again()
            return f"{derivation.name} is computed again: {count(computed, derivation.unit)}"
    if name == hidden_rows.name:
        return f"{count(await _hide_rows_again(instance), 'row is', 'rows are')} hidden"
    if not defects:
        raise SettingsError(f"table {name} has all rows that are known of it: there is nothing to rebuild")
    await _accept_losses(instance, name)
    return await _rebuild_rows(instance, name)


def _can_hide_again(instance: Instance) -> bool:
    """Whether `hidden_rows` lost rows, and the tables that it is filled from are there."""
    needed = {dataset.name for dataset in instance.datasets if dataset.repeats_within}
    is_short = any(defect.table == hidden_rows.name for defect in instance.tables.defects)
    return is_short and needed.isdisjoint(instance.tables.missing)


async def _hide_rows_again(instance: Instance) -> int:
    """Fill `hidden_rows`. Until that is done the ledger knows more rows of it than it has, so that a start after a crash goes
    on with it. Returns how many rows it has.
    """
    repeating = [dataset for dataset in instance.datasets if dataset.repeats_within]
    archived = instance.archives.archived
    rows = await note_hidden_rows_again(instance.ledger, instance.warehouse, archived, repeating)
    await _accept_losses(instance, hidden_rows.name)
    await instance.tables.check_again()
    return rows


async def _accept_losses(instance: Instance, name: str) -> None:
    """What was published until now need not be in the table."""
    newest = int((await instance.warehouse.rows("SELECT max(seq) FROM loads")).rows[0][0])
    await instance.partitions.accept_loss(name, newest)


async def _rebuild_rows(instance: Instance, name: str) -> str:
    catalog = instance.catalog
    for stream in catalog.streams:
        if frames_of(stream).name == name:
            await _give_frames_up(instance, stream.name)
            return f"the table {name} takes frames again; the lost ones stay lost"
        if stream.dataset.name == name:
            await instance.ledger.add_job(Job("replay", stream.name))
    if any(stream.dataset.name == name for stream in catalog.streams):
        return f"the table {name} is there; the daemon decodes the stored frames again when it is started"
    if transforms := [transform for transform in catalog.transforms if transform.dataset.name == name]:
        runner = TransformRunner(
            transforms[0], instance.ledger, instance.warehouse, instance.publications, instance.positions,
            gate=instance.gate, archives=instance.archives,
        )  # fmt: skip
        return f"{count(await runner.compute_again(), 'load')} of {name} computed again"
    if name in {dataset.name for dataset in SYSTEM_DATASETS}:
        return f"the table {name} is there, and begins empty"
    documents = sum(
        [
            await instance.ledger.forget_outcomes(source.name)
            for source in catalog.sources
            if name in {dataset.name for dataset in source.datasets}
        ]
    )
    return f"the table {name} is there; {count(documents, 'document')} will be loaded again at the next check of the source"


async def _give_frames_up(instance: Instance, stream: str) -> None:
    """Forget which frame was moved last: then nobody expects it in the table. The positions stay where they are."""
    epoch, known = await instance.positions.epoch(stream), await instance.positions.positions(stream)
    if epoch:
        positions = [Position(position.epoch, position.partition, position.offset) for position in known.values()]
        await instance.positions.begin_epoch(epoch, positions)
