"""Commands about receipts: write a citation, run one again, read every row again from its document."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spotlightd.commands.collect import collect
from spotlightd.commands.output import Out
from spotlightd.commands.session import PATIENCE_SECONDS, Reading, moment_of, pinned, reading
from spotlightd.errors import SettingsError
from spotlightd.model.dataset import LINES, Dataset
from spotlightd.model.provenance import Body
from spotlightd.model.source import Batch
from spotlightd.parse import lines, zipped
from spotlightd.ports.ledger import Job
from spotlightd.ports.progress import Progress
from spotlightd.ports.warehouse import Limits
from spotlightd.query import citation
from spotlightd.query import verify as witness
from spotlightd.query.citation import Citation, Library
from spotlightd.query.errors import HttpProblem
from spotlightd.settings.settings import Settings
from spotlightd.sql.visibility import Snapshot, visible_condition
from spotlightd.sql.visibility import all_rows as stored

AT_ONCE = 200_000
SHOWN = 10
NOT_FETCHED = (
    "what was received from a stream cannot be fetched: its frames are kept where they were received, and no publisher "
    "has them; verify it at the instance that it was cited from"
)
VISIBLE_LOADS = "SELECT load_id, source, document, covers FROM loads WHERE dataset = {dataset:String} AND "


async def cite(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """A citation on standard output."""
    async with reading(settings) as here:
        try:
            made = await witness.cite(_library(here), arguments.address, moment_of(arguments.as_of))
        except HttpProblem as refusal:
            raise SettingsError(f"{refusal.says} {refusal.remedy}") from None
    out.value(citation.to_json(made))
    return 0


async def verify(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Same: 0. Documents missing, or another result: 1, with the documents named."""
    cited = citation.from_json(await _text(arguments.file))
    verdict = await _verdict(cited, settings)
    if verdict.outcome == "missing documents" and arguments.fetch:
        for name in sorted(
            {one.document.source for one in verdict.missing if not one.parsers_here and one.document.url}
        ):
            out.note(f"fetching what is missing of {name}")
            await collect(Job("backfill", name), settings, out)
        if any(not one.document.url for one in verdict.missing):
            out.note(NOT_FETCHED)
        verdict = await _verdict(cited, settings)
    _tell(out, verdict)
    return 0 if verdict.outcome == "same" else 1


async def _text(path: Path) -> bytes:
    try:
        return await asyncio.to_thread(path.read_bytes)
    except OSError as problem:
        raise SettingsError(f"{path} cannot be read: {problem.strerror}") from None


async def _verdict(cited: Citation, settings: Settings) -> witness.Verdict:
    async with reading(settings) as here:
        return await witness.verify(_library(here), cited)


def _library(here: Reading) -> Library:
    return Library(here.warehouse, here.datasets, Limits(seconds=PATIENCE_SECONDS * 10), here.archives)


def _tell(out: Out, verdict: witness.Verdict) -> None:
    lacking: list[dict[str, Any]] = [
        {
            "sha256": one.document.sha256,
            "url": one.document.url,
            "parser": one.document.parser,
            "source": one.document.source,
            "here": one.parsers_here,
        }
        for one in verdict.missing
    ]
    others = [
        {"sha256": one.document.sha256, "url": one.document.url, "cited": one.document.rows, "found": one.rows_found}
        for one in verdict.differences
    ]
    if out.as_json:
        out.value({"outcome": verdict.outcome, "rows_cited": verdict.rows_cited, "rows_found": verdict.rows_found,
                   "missing": lacking, "differences": others})  # fmt: skip
        return
    found = "" if lacking else f", {verdict.rows_found:,} found here"
    out.say(f"{verdict.outcome}: {verdict.rows_cited:,} rows cited{found}")
    for one in (one for one in lacking if not one["url"]):
        here = f"decoded by {', '.join(one['here'])}, not by the cited" if one["here"] else "not received here"
        out.say(f"  {here}: frames of {one['source']}, {one['sha256']}, decode {one['parser']}")
    for one in (one for one in lacking if one["url"]):
        other = f"read by parser {', '.join(one['here'])}, not by the cited" if one["here"] else "not here"
        out.say(f"  {other}: {one['url']} {one['sha256']}, parser {one['parser']}")
    for one in others:
        out.say(f"  differs: {one['url']} {one['sha256']}: {one['cited']:,} rows cited, {one['found']:,} here")
    if any(not one["here"] and not one["url"] for one in lacking):
        out.say(f"  {NOT_FETCHED}")
    if any(not one["here"] and one["url"] for one in lacking):
        out.say(
            "  fetch what is not here with --fetch, if the publisher still serves these bytes; or import a bundle of it"
        )
    if any(one["here"] for one in lacking):
        out.say("  what another parser version read here can only be compared where the cited version read it")


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that its pointer does not bear out."""

    dataset: str
    document: str
    member: int
    line: int
    says: str


async def audit(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Every visible row, compared with the very line that its pointer names, by other code than loaded it."""
    faults: list[Fault] = []
    checked = 0
    async with reading(settings) as here:
        named = [one for one in here.catalog.datasets if arguments.dataset in ("", one.name)]
        if not named:
            raise SettingsError(f"no dataset is called {arguments.dataset!r}")
        pin = await pinned(here.warehouse, here.archives, None)
        with out.progress("audit") as moves:
            for dataset in named:
                if not dataset.by_load:  # what rows lead back to, or records of this instance
                    continue
                if dataset.pointer != LINES:
                    out.note(f"{dataset.name} is left out: its rows stand in no lines of documents")
                    continue
                rows, found = await _audited(here, dataset, pin, moves)
                checked, faults = checked + rows, faults + found
    said = f"{checked:,} rows read again from their documents: {checked - len(faults):,} the same, {len(faults):,} not"
    for fault in faults[:SHOWN]:
        out.note(f"{fault.dataset}: document {fault.document}, member {fault.member}, line {fault.line}: {fault.says}")
    out.say(said, {"rows": checked, "same": checked - len(faults), "faults": [str(one) for one in faults[:SHOWN]]})
    return 1 if faults else 0


async def _audited(here: Reading, dataset: Dataset, pin: Snapshot, moves: Progress) -> tuple[int, list[Fault]]:
    checked, faults = 0, list[Fault]()
    loads = (
        await here.warehouse.rows(VISIBLE_LOADS + visible_condition(dataset), {"dataset": dataset.name, "seq": pin.seq})
    ).dicts()
    for done, load in enumerate(loads):
        moves(load["covers"], done, len(loads))
        source = next(one for one in here.catalog.sources if one.name == load["source"])
        async with here.documents.file(load["document"]) as path:
            first, body = 0, Body(path, load["document"])
            while rows := await _rows(here, dataset, load["load_id"], first):
                checked, first = checked + len(rows), first + AT_ONCE
                says = await asyncio.to_thread(_compared, source, dataset, body, rows)
                faults += [Fault(dataset.name, load["document"], *place, text) for place, text in says]
    return checked, faults


async def _rows(here: Reading, dataset: Dataset, load_id: int, offset: int) -> list[dict[str, Any]]:
    columns = ", ".join(column.name for column in (*dataset.columns, *dataset.pointer))
    where = "load_id = {load_id:UInt64} ORDER BY member, line LIMIT {most:UInt64} OFFSET {offset:UInt64}"
    values = {"load_id": load_id, "most": AT_ONCE, "offset": offset}
    return (
        await here.warehouse.rows(f"SELECT {columns} FROM {stored(dataset, here.archives.cold)} WHERE {where}", values)
    ).dicts()


def _compared(
    source: Batch, dataset: Dataset, body: Body, rows: list[dict[str, Any]]
) -> list[tuple[tuple[int, int], str]]:
    if source.reread is None:
        raise SettingsError(f"source {source.name} has no reread: its rows cannot be audited")
    wanted = {(row["member"], row["line"]): row for row in rows}
    faults = [
        ((row["member"], row["line"]), "two rows point here")
        for row in rows
        if wanted[row["member"], row["line"]] is not row
    ]
    for place, text in _texts(body, wanted):
        row = wanted.pop(place)
        told = source.reread(text)
        wrong = [name for name in (column.name for column in dataset.columns) if row[name] != told[name]]
        faults += [(place, f"{name} is {row[name]!r} in the row, {told[name]!r} in the document") for name in wrong]
    return faults + [(place, "the document has no such line") for place in wanted]


def _texts(body: Body, wanted: Mapping[tuple[int, int], Any]) -> Iterator[tuple[tuple[int, int], str]]:
    """The wanted lines of the document, in its order."""
    for member in zipped.members(body):
        for block in lines.blocks(zipped.pieces(member), "latin-1", member=member.index):
            texts = block.text.decode().split("\n")[: block.count]
            for number, text in enumerate(texts, block.first):
                if (member.index, number) in wanted:
                    yield (member.index, number), text
