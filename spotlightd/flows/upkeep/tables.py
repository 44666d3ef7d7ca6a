"""Compares the tables with what else is known of their rows, so that none is made anew, or filled, that lost them.

A table that was renamed, dropped or emptied looks like one that never had rows. What else is known says which it is: the
publications in `loads`, the frames that were moved, the partitions in the archive. A table that is missing or empty
although it should have rows holds the flows that write into it, until a person has looked. A table that has fewer rows
than were published is told, and nothing waits for it: what is added makes it no worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from spotlightd.datasets.system import MIRRORED, hidden_rows
from spotlightd.flows.upkeep.publications import PublicationCounter, Published
from spotlightd.model.bus import KEY
from spotlightd.model.dataset import Dataset
from spotlightd.model.offsets import Epoch, Position
from spotlightd.model.stream import Stream, frames_of
from spotlightd.model.text import count
from spotlightd.ports.ledger import ArchiveLedger, Ledger, Positions
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.tiers import Archives
from spotlightd.sql.visibility import hot_rows

INDEXES = ("loads", "archives")
COPIES = tuple(dataset.name for dataset in MIRRORED)  # the ledger fills them again by itself
TABLES = "SELECT name FROM system.tables WHERE database = currentDatabase()"
FRAME = "epoch = {epoch:UInt16} AND partition = {partition:UInt16} AND offset = {offset:UInt64}"

INDEX_FACT = "it is the only record of what readers see"
Kind = Literal["missing", "empty", "stale", "short"]
WORDS: Mapping[Kind, str] = {
    "missing": "is missing", "empty": "is empty", "stale": "lacks its newest rows", "short": "lacks rows",
}  # fmt: skip
TODO: Mapping[Kind, str] = {
    "missing": "Nothing is made in its place: rename it back (RENAME TABLE … TO {table}), or restore a backup",
    "empty": "Nothing is written into it: restore a backup",
    "stale": (
        "Nothing is written: put tables and ledger of the same moment back; or, if the tables are the newer truth, stop"
        " the daemon, move ledger.sqlite away and start it: the ledger is made again from the tables, and what the bus"
        " still has is read again"
    ),
    "short": "Restore a backup",
}


@dataclass(frozen=True, slots=True)
class TableDefect:
    """A table without the rows that are known of it, as a sentence. A `short` one has a part of them; a `stale` one lacks
    the newest, so it may be older than the ledger.
    """

    table: str
    kind: Kind
    detail: str

    @property
    def holds(self) -> bool:
        """Whether nothing may be written into the table."""
        return self.kind != "short"


@dataclass(frozen=True, slots=True)
class StoredRows:
    """How many rows of a table are in the table itself, and how many are in the archive only. `exists`: the table does."""

    hot: int
    archived: int
    exists: bool

    @property
    def all(self) -> int:
        return self.hot + self.archived


@dataclass(frozen=True, slots=True)
class TableFacts:
    """Everything that a look needs. `remedies`: what `spotlightd rebuild` does with a table, as a clause."""

    warehouse: Warehouse
    publications: PublicationCounter
    archive_ledger: ArchiveLedger
    positions: Positions
    archives: Archives
    datasets: Sequence[Dataset]
    streams: Sequence[Stream]
    remedies: Mapping[str, str]

    async def find_defects(self) -> tuple[TableDefect, ...]:
        """The defects of all tables, as of now. StoreError while the warehouse does not answer."""
        tables = await list_tables(self.warehouse)
        if indexes := [self.describe(name, "missing", INDEX_FACT) for name in INDEXES if name not in tables]:
            return tuple(indexes)
        published = await self.publications.count(await self.archive_ledger.accepted_losses())
        frames = [defect for stream in self.streams if (defect := await self._check_frames(stream, tables))]
        missing = [defect for dataset in self.datasets if (defect := self._check_missing(dataset, tables, published))]
        present = [dataset for dataset in self.datasets if dataset.name in tables and dataset.name in published]
        short = [defect for dataset in present if (defect := await self._check_rows(dataset, published[dataset.name]))]
        return tuple({defect.table: defect for defect in (*missing, *short, *frames)}.values())

    def _check_missing(
        self, dataset: Dataset, tables: AbstractSet[str], published: Mapping[str, Published]
    ) -> TableDefect | None:
        name, archived = dataset.name, self.archives.archived.of_dataset(dataset.name)
        if name in tables or name in COPIES or (name not in published and not archived):
            return None
        known = published.get(name, Published())
        fact = f"{count(known.publications, 'publication')} and {count(len(archived), 'archived partition')} of it are known"
        return self.describe(name, "missing", fact)

    async def _check_rows(self, dataset: Dataset, published: Published) -> TableDefect | None:
        """Compare the rows in the table and in the archive with those that were published. A stream publishes before it
        has rows, so `loads` says nothing about them.
        """
        archived = self.archives.archived
        expected = published.rows - sum(partition.rows for partition in archived.of_dataset(dataset.name))
        if expected <= 0:
            return None
        hot = int((await self.warehouse.rows(f"SELECT count() FROM {hot_rows(dataset, archived)}")).rows[0][0])
        if hot >= expected:
            return None
        kind: Kind = "short" if hot else "empty"
        return self.describe(dataset.name, kind, f"it holds {hot:,} of at least {count(expected, 'row')}")

    async def count_unannounced(self) -> Mapping[str, StoredRows]:
        """The rows of the tables of which `loads` does not say how many they have: `hidden_rows`, and those that streams fill."""
        tables, archived = await list_tables(self.warehouse), self.archives.archived
        streamed = [dataset for stream in self.streams for dataset in (stream.dataset, frames_of(stream))]
        counts = dict[str, StoredRows]()
        for dataset in (hidden_rows, *streamed):
            hot = 0
            if dataset.name in tables:
                hot = (await self.warehouse.rows(f"SELECT count() FROM {hot_rows(dataset, archived)}")).rows[0][0]
            in_archive = sum(partition.rows for partition in archived.of_dataset(dataset.name))
            counts[dataset.name] = StoredRows(hot, in_archive, dataset.name in tables)
        return counts

    async def _check_frames(self, stream: Stream, tables: AbstractSet[str]) -> TableDefect | None:
        """The frame that was moved last must be in the table, or on a day that is in the archive."""
        epoch, table = await self.positions.epoch(stream.name), frames_of(stream).name
        known = await self.positions.positions(stream.name) if epoch else {}
        moved = [position for position in known.values() if position.key]
        if not moved or epoch is None:
            return None
        if table not in tables:
            return self.describe(table, "missing", f"frames up to offset {moved[0].offset - 1:,} were moved into it")
        lost = [position for position in moved if not await self._has_frame(stream, epoch, position)]
        if not lost:
            return None
        has_rows = (await self.warehouse.rows(f"SELECT count() FROM {table}")).rows[0][0]
        place = f"offset {lost[0].offset - 1:,} of partition {lost[0].partition}"
        return self.describe(
            table, "stale" if has_rows else "empty", f"the frame at {place} was moved and is not there"
        )

    async def _has_frame(self, stream: Stream, epoch: Epoch, position: Position) -> bool:
        values = {"epoch": epoch.number, "partition": position.partition, "offset": position.offset - 1}
        table, received = frames_of(stream), datetime.fromtimestamp(KEY.unpack(position.key)[3] / 1e9, UTC)
        if (await self.warehouse.rows(f"SELECT count() FROM {table.name} WHERE {FRAME}", values)).rows[0][0]:
            return True
        archived = self.archives.archived.of_dataset(table.name)
        return any(
            low <= received <= high for low, high in (partition.bounds[table.split_by] for partition in archived)
        )

    def describe(self, table: str, kind: Kind, fact: str) -> TableDefect:
        """The defect as a sentence that names the table, what is known of it, and what to do."""
        todo, remedy = TODO[kind].format(table=table), self.remedies.get(table, "")
        again = f"; or stop the daemon and run `spotlightd rebuild {table}`, which {remedy}" if remedy else ""
        return TableDefect(table, kind, f"table {table} {WORDS[kind]}: {fact}. {todo}{again}")


async def list_tables(warehouse: Warehouse) -> frozenset[str]:
    """The names of all tables and views."""
    return frozenset(name for (name,) in (await warehouse.rows(TABLES)).rows)


async def compare_index(
    ledger: Ledger, archive_ledger: ArchiveLedger, warehouse: Warehouse
) -> tuple[TableDefect | None, str]:
    """Whether the ledger and the indexes are of the same time, at a start, before anything is repaired. A defect when an
    index is older than the ledger; a sentence when the ledger is older, which the start repairs.
    """
    gone = [partition for partition in await archive_ledger.partitions() if partition.stage in ("switched", "dropped")]
    indexed = set((await warehouse.rows("SELECT DISTINCT dataset, partition FROM archives")).rows)
    if unknown := [partition for partition in gone if (partition.dataset, partition.id) not in indexed]:
        return _describe_stale(
            "archives", f"{unknown[0].dataset} {unknown[0].id} is in the bucket, and it lacks that"
        ), ""
    known = await ledger.newest_seq("published") or 0
    newest = int((await warehouse.rows("SELECT max(seq) FROM loads")).rows[0][0])
    if newest < known:
        return _describe_stale("loads", f"it ends at publication {newest:,}, and the ledger knows {known:,}"), ""
    if known and newest > known:
        return None, f"the ledger ended at publication {known:,} and the tables at {newest:,}: the ledger was older"
    return None, ""


def _describe_stale(index: str, fact: str) -> TableDefect:
    return TableDefect(index, "stale", f"table {index} {WORDS['stale']}: {fact}. {TODO['stale']}")
