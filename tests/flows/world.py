"""A small world for flows: a constructed source of days and counts, its publisher, and stores that can be made to fail."""

from __future__ import annotations

import csv
import io
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from spotlightd import Batch, Body, Column, Dataset, Expected, FormatError, Link, Pages, Reject, Rhythm, Rows
from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.flows.batch.ingest import Span, ingest
from spotlightd.flows.loads.load import IngestContext, Result
from spotlightd.flows.loads.publish import Publications
from spotlightd.flows.loads.recovery import recover
from spotlightd.model.stream import Stream
from spotlightd.parse import columns
from spotlightd.ports.parser import Parsed
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.tiers import NoArchives
from spotlightd.sql.visibility import visible
from spotlightd.testing import MemoryDocuments, MemoryPublishers, Reply
from spotlightd.workers.inline import parse_here

INDEX = "https://example.org/index"

constructed_counts = Dataset(
    name="constructed_counts", title="Constructed counts", publisher="nobody", about="Counts that no publisher made.",
    columns=(Column("day", "Date", "the day"), Column("count", "UInt64", "how many")),
    key=("day",), order=("day",), time="day", rhythm=Rhythm("daily", 1, rows=(1, 1000)),
)  # fmt: skip


def url(covers: str) -> str:
    return f"https://example.org/files/{covers.replace('/', '-')}.csv"


async def discover(pages: Pages) -> AsyncIterator[Link]:
    """The index page is one `covers [address]` a line."""
    for line in (await pages.page(INDEX)).split("\n"):
        if covers := line.strip():
            covers, _, address = covers.partition(" ")
            year = int(covers.split("/")[0])
            yield Link(address or url(covers), covers, date(year, 1, 1), date(year, 12, 31))


def parse(body: Body) -> Iterator[Rows | Reject]:
    """`day,count` a line; a line that begins with `?` is a reject, `!` refuses the document."""
    days, counts, places = [], [], []
    for number, line in enumerate(body.path.read_text().splitlines(), 1):
        if line.startswith("!"):
            raise FormatError(f"refused as the document asks: {line}", line=number)
        if line.startswith("?"):
            yield Reject(0, number, line, "as the line asks")
            continue
        ((day, count),) = csv.reader(io.StringIO(line))
        days.append(date.fromisoformat(day))
        counts.append(int(count))
        places.append(number)
    made = {
        "day": pa.array(days, pa.date32()), "count": pa.array(counts, pa.uint64()),
        "member": pa.array([0] * len(days), pa.uint16()), "line": pa.array(places, pa.uint32()),
    }  # fmt: skip
    yield Rows(constructed_counts, pa.record_batch(made))


def source(parser: str = "1") -> Batch:
    return Batch(
        name="constructed", title="Constructed", home=INDEX, datasets=(constructed_counts,), discover=discover,
        parse=parse, parser=parser, hosts=("example.org",), cron="0 6 * * *",
        expected=lambda day: Expected(f"{day.year}", day), rejects_allowed=0.5,
    )  # fmt: skip


class HereParsing:
    """A document that was read at once, in this process."""

    def __init__(self, found: list[Rows | Reject], problem: FormatError | None, load_id: int, lines: int) -> None:
        self._found, self._problem, self._load_id, self._lines = found, problem, load_id, lines

    async def columns(self, dataset: str) -> AsyncIterator[bytes]:
        out = io.BytesIO()
        schema = columns.schema(constructed_counts)
        with pa.ipc.new_stream(out, schema) as writer:
            for rows in self._found:
                if isinstance(rows, Rows) and rows.dataset.name == dataset:
                    load_id = pa.repeat(pa.scalar(self._load_id, pa.uint64()), rows.columns.num_rows)
                    whole = rows.columns.append_column("load_id", load_id).select(schema.names)
                    writer.write_batch(whole.cast(schema))
        yield out.getvalue()

    @property
    def rejects(self) -> tuple[Reject, ...]:
        return tuple(one for one in self._found if isinstance(one, Reject))

    async def parsed(self) -> Parsed:
        if self._problem:
            raise self._problem
        rows = sum(one.columns.num_rows for one in self._found if isinstance(one, Rows))
        return Parsed({"constructed_counts": rows}, self.rejects, self._lines)


class HereParser:
    @asynccontextmanager
    async def parse(self, source: Batch | Stream, path: Path, name: str, *, load_id: int) -> AsyncIterator[HereParsing]:
        found: list[Rows | Reject] = []
        problem = None
        try:
            found.extend(parse_here(source, path, name))
        except FormatError as refused:
            problem = refused
        yield HereParsing(found, problem, load_id, len(path.read_text().splitlines()))


class CrashError(BaseException):
    """The process ends here: nothing of ours may catch it."""


@dataclass
class Fuse:
    """Counts the steps that stores take, and ends the process at the one that was named."""

    blows_at: int = -1
    steps: int = 0

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.blows_at:
            raise CrashError


class Fused:
    """A store whose calls are two steps each: one before it acts, one after."""

    def __init__(self, store: Any, fuse: Fuse, only: Collection[str] = ()) -> None:
        """`only` these calls are steps; all of them when there are none."""
        self._store, self._fuse, self._only = store, fuse, only

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name in {"file", "stream", "read", "parse"} or (self._only and name not in self._only):
            return found

        async def call(*values: Any, **named: Any) -> Any:
            self._fuse.step()
            answer = await found(*values, **named)
            self._fuse.step()
            return answer

        return call


@dataclass
class World:
    """Everything that outlives a crash: files, tables, and what the publisher shows."""

    folder: Path
    warehouse: Warehouse
    publishers: MemoryPublishers = field(default_factory=MemoryPublishers)
    documents: Any = field(init=False)

    def __post_init__(self) -> None:
        self.documents = MemoryDocuments(self.folder)

    def shows(self, documents: Mapping[str, str]) -> None:
        """The publisher has these documents, by what they cover, or by what they cover and their address."""
        self.publishers.replies.clear()
        self.publishers.replies[INDEX] = Reply("\n".join(documents).encode(), "text/html")
        for told, text in documents.items():
            covers, _, address = told.partition(" ")
            self.publishers.replies[address or url(covers)] = Reply(text.encode(), "text/csv")

    @asynccontextmanager
    async def stores(self, fuse: Fuse | None = None) -> AsyncIterator[IngestContext]:
        """The daemon's stores as after a start, recovery included."""
        async with SqliteLedger(self.folder / "ledger.sqlite") as ledger:
            fused: Callable[[Any], Any] = (lambda store: Fused(store, fuse)) if fuse else (lambda store: store)
            warehouse, kept = fused(self.warehouse), fused(ledger)
            publications = Publications(kept, warehouse)
            await recover(kept, warehouse, publications, (constructed_counts, *SYSTEM_DATASETS), NoArchives())
            yield IngestContext(fused(self.documents), kept, warehouse, HereParser(), publications)

    async def look(self, batch: Batch | None = None, *, fuse: Fuse | None = None, again: bool = True) -> list[Result]:
        """Start, look once, stop."""
        batch = batch or source()
        async with self.stores(fuse) as stores:
            return await ingest(batch, self.publishers.of(batch), stores, span=Span(again=again))

    async def seen(self, seq: int = 2**63) -> dict[str, int]:
        """What a reader pinned to `seq` sees; a doubled day would be an error."""
        sql = f"SELECT day, count, count() FROM constructed_counts WHERE {visible(constructed_counts)} GROUP BY day, count"
        answer = await self.warehouse.rows(sql, {"seq": seq})
        assert all(row[2] == 1 for row in answer.rows), answer.rows
        assert len({row[0] for row in answer.rows}) == len(answer.rows), answer.rows
        return {row[0].isoformat(): row[1] for row in answer.rows}

    async def stored(self) -> int:
        return int((await self.warehouse.rows("SELECT count() FROM constructed_counts")).rows[0][0])

    async def runs(self) -> list[tuple[str, str, str]]:
        """Outcome, covers and error of every run, oldest first."""
        async with SqliteLedger(self.folder / "ledger.sqlite") as ledger:
            return [(row[5], row[4], row[11]) for row in await ledger.history("runs", 0, 10_000)]


def copied(ledger: Path, backup: Path) -> None:
    """A backup of a ledger that is open, as the operator is told to make one."""
    with closing(sqlite3.connect(ledger)) as one, closing(sqlite3.connect(backup)) as other:
        one.backup(other)
