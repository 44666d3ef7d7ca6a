"""`audit`: compares every visible row with the line of the document that it points to."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from spotlightd.commands.command import Command, argument
from spotlightd.commands.output import Out
from spotlightd.commands.session import Session, open_session
from spotlightd.errors import SettingsError
from spotlightd.model.dataset import LINES, Dataset
from spotlightd.model.provenance import Body
from spotlightd.model.source import Batch
from spotlightd.parse import lines, zipped
from spotlightd.ports.progress import Progress
from spotlightd.settings.settings import Settings
from spotlightd.sql.visibility import Snapshot, all_rows, visible_condition

BATCH_ROWS = 200_000
MOST_FAULTS = 10
VISIBLE_LOADS = "SELECT load_id, source, document, covers FROM loads WHERE dataset = {dataset:String} AND "


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that is not what its line in the document says."""

    dataset: str
    document: str
    member: int
    line: int
    detail: str


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Compare all rows, with other code than the code that loaded them; 1 when one differs."""
    faults: list[Fault] = []
    checked = 0
    async with open_session(settings) as session:
        datasets = [dataset for dataset in session.catalog.datasets if arguments.dataset in ("", dataset.name)]
        if not datasets:
            raise SettingsError(f"no dataset is called {arguments.dataset!r}")
        snapshot = await session.take_snapshot()
        with out.progress("audit") as progress:
            for dataset in datasets:
                if not dataset.by_load:  # frames, or records of this instance: they point to no document
                    continue
                if dataset.pointer != LINES:
                    out.note(f"{dataset.name} is left out: its rows do not point to lines of documents")
                    continue
                rows, dataset_faults = await _audit_dataset(session, dataset, snapshot, progress)
                checked, faults = checked + rows, faults + dataset_faults
    for fault in faults[:MOST_FAULTS]:
        out.note(
            f"{fault.dataset}: document {fault.document}, member {fault.member}, line {fault.line}: {fault.detail}"
        )
    same = checked - len(faults)
    out.result(
        f"{checked:,} rows read again from their documents: {same:,} the same, {len(faults):,} not",
        {"rows": checked, "same": same, "faults": [str(fault) for fault in faults[:MOST_FAULTS]]},
    )
    return 1 if faults else 0


async def _audit_dataset(
    session: Session, dataset: Dataset, snapshot: Snapshot, progress: Progress
) -> tuple[int, list[Fault]]:
    """How many rows were compared, and which of them differ."""
    checked, faults = 0, list[Fault]()
    sql, values = VISIBLE_LOADS + visible_condition(dataset), {"dataset": dataset.name, "seq": snapshot.seq}
    loads = (await session.warehouse.rows(sql, values)).dicts()
    for done, load in enumerate(loads):
        progress(load["covers"], done, len(loads))
        source = next(source for source in session.catalog.sources if source.name == load["source"])
        async with session.documents.file(load["document"]) as path:
            offset, body = 0, Body(path, load["document"])
            while rows := await _read_rows(session, dataset, load["load_id"], offset):
                checked, offset = checked + len(rows), offset + BATCH_ROWS
                differences = await asyncio.to_thread(_compare, source, dataset, body, rows)
                faults += [Fault(dataset.name, load["document"], *position, detail) for position, detail in differences]
    return checked, faults


async def _read_rows(session: Session, dataset: Dataset, load_id: int, offset: int) -> list[dict[str, Any]]:
    columns = ", ".join(column.name for column in (*dataset.columns, *dataset.pointer))
    table = all_rows(dataset, session.archives.archived)
    where = "load_id = {load_id:UInt64} ORDER BY member, line LIMIT {most:UInt64} OFFSET {offset:UInt64}"
    values = {"load_id": load_id, "most": BATCH_ROWS, "offset": offset}
    return (await session.warehouse.rows(f"SELECT {columns} FROM {table} WHERE {where}", values)).dicts()


def _compare(
    source: Batch, dataset: Dataset, body: Body, rows: list[dict[str, Any]]
) -> list[tuple[tuple[int, int], str]]:
    """(member and line, what differs) for each difference between the rows and the document."""
    if source.reread is None:
        raise SettingsError(f"source {source.name} has no reread: its rows cannot be audited")
    wanted = {(row["member"], row["line"]): row for row in rows}
    faults = [
        ((row["member"], row["line"]), "two rows point here")
        for row in rows
        if wanted[row["member"], row["line"]] is not row
    ]
    for position, text in _read_lines(body, wanted):
        row, values = wanted.pop(position), source.reread(text)
        differing = [column.name for column in dataset.columns if row[column.name] != values[column.name]]
        faults += [
            (position, f"{name} is {row[name]!r} in the row, {values[name]!r} in the document") for name in differing
        ]
    return faults + [(position, "the document has no such line") for position in wanted]


def _read_lines(body: Body, wanted: Mapping[tuple[int, int], Any]) -> Iterator[tuple[tuple[int, int], str]]:
    """The wanted lines of the document, in document order."""
    for member in zipped.members(body):
        for block in lines.read_blocks(zipped.pieces(member), "latin-1", member=member.index):
            texts = block.text.decode().split("\n")[: block.count]
            for number, text in enumerate(texts, block.first):
                if (member.index, number) in wanted:
                    yield (member.index, number), text


COMMAND = Command(
    "audit",
    "read every visible row again from its document and compare",
    "spotlightd audit sec_ftd",
    (argument("dataset", metavar="DATASET", nargs="?", default="", help="name of a dataset (default: all)"),),
    run,
)
