"""`audit`: compares every visible row with the line of the document that it points to."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from spotlightd.commands.command import Command, argument
from spotlightd.commands.output import Out
from spotlightd.commands.session import Session, open_session
from spotlightd.confinement.answers import read_fields, read_list, read_number, read_text
from spotlightd.errors import SettingsError
from spotlightd.model.dataset import LINES, Dataset
from spotlightd.ports.progress import Progress
from spotlightd.settings.settings import Settings
from spotlightd.settings.sources import ParserSettings
from spotlightd.sql.visibility import Snapshot, all_rows, visible_load_condition
from spotlightd.workers.audit_child import encode_value
from spotlightd.workers.child_process import read_document

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
    checked = count = 0
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
                if single := _list_without_reread(session, dataset):
                    out.note(f"{dataset.name}: rows of {', '.join(single)} are left out: these have no reread")
                rows, differences, first = await _audit_dataset(session, dataset, snapshot, settings.parser, progress)
                checked, count, faults = checked + rows, count + differences, (faults + first)[:MOST_FAULTS]
    for fault in faults:
        out.note(
            f"{fault.dataset}: document {fault.document}, member {fault.member}, line {fault.line}: {fault.detail}"
        )
    same = checked - count
    out.result(
        f"{checked:,} rows read again from their documents: {same:,} the same, {count:,} not",
        {"rows": checked, "same": same, "faults": [str(fault) for fault in faults]},
    )
    return 1 if count else 0


def _list_without_reread(session: Session, dataset: Dataset) -> list[str]:
    """The sources of the dataset whose lines only the parser itself can read."""
    return [source.name for source in session.catalog.sources if dataset in source.datasets and not source.reread]


async def _audit_dataset(
    session: Session, dataset: Dataset, snapshot: Snapshot, limits: ParserSettings, progress: Progress
) -> tuple[int, int, list[Fault]]:
    """How many rows were compared, how many differences there are, and the first of them."""
    checked, count, faults = 0, 0, list[Fault]()
    sql, values = VISIBLE_LOADS + visible_load_condition(dataset), {"dataset": dataset.name, "seq": snapshot.seq}
    left_out = _list_without_reread(session, dataset)
    loads = [load for load in (await session.warehouse.rows(sql, values)).dicts() if load["source"] not in left_out]
    for done, load in enumerate(loads):
        progress(load["covers"], done, len(loads))
        place = session.catalog.places[load["source"]]
        async with session.documents.file(load["document"]) as path:
            request = {"place": place, "source": load["source"], "path": str(path), "name": load["document"]}
            offset = 0
            while rows := await _read_rows(session, dataset, load["load_id"], offset):
                checked, offset = checked + len(rows), offset + BATCH_ROWS
                differences, first_faults = await _compare(request, dataset, rows, limits)
                count, faults = count + differences, (faults + first_faults)[:MOST_FAULTS]
    return checked, count, faults


async def _read_rows(session: Session, dataset: Dataset, load_id: int, offset: int) -> list[dict[str, Any]]:
    columns = ", ".join(column.name for column in (*dataset.columns, *dataset.pointer))
    table = all_rows(dataset, session.archives.archived)
    where = "load_id = {load_id:UInt64} ORDER BY member, line LIMIT {most:UInt64} OFFSET {offset:UInt64}"
    values = {"load_id": load_id, "most": BATCH_ROWS, "offset": offset}
    return (await session.warehouse.rows(f"SELECT {columns} FROM {table} WHERE {where}", values)).dicts()


async def _compare(
    request: dict[str, Any], dataset: Dataset, rows: list[dict[str, Any]], limits: ParserSettings
) -> tuple[int, list[Fault]]:
    """How many differences there are between the rows and the document, and the first of them. The document is untrusted:
    a confined child reads it.
    """
    columns = [column.name for column in dataset.columns]
    encoded = [[row["member"], row["line"], [encode_value(row[name]) for name in columns]] for row in rows]
    request |= {"columns": columns, "rows": encoded, "most": MOST_FAULTS}
    _, (count, faults) = await read_document("spotlightd.workers.audit_child", request, limits, _read_faults)
    return count, [Fault(dataset.name, request["name"], *fault) for fault in faults]


def _read_faults(answer: Any) -> tuple[int, list[tuple[int, int, str]]]:
    faults, count = read_fields(answer, "faults", "count")
    places = [read_list(fault) for fault in read_list(faults)]
    return read_number(count), [
        (read_number(member), read_number(line), read_text(text)) for member, line, text in places
    ]


COMMAND = Command(
    "audit",
    "read every visible row again from its document and compare",
    "spotlightd audit sec_ftd",
    (argument("dataset", metavar="DATASET", nargs="?", default="", help="name of a dataset (default: all)"),),
    run,
)
