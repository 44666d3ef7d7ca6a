"""A world for tests of flows: a constructed source of days and counts, its publisher, and stores that can fail."""

from __future__ import annotations

import asyncio
import csv
import io
import itertools
import os
import pkgutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa

from spotlightd import (
    Batch,
    Body,
    Column,
    Dataset,
    Expected,
    FormatError,
    Link,
    OutsideRows,
    Pages,
    Reject,
    Rhythm,
    Rows,
    ports,
)  # fmt: skip
from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.flows.batch.ingest import IngestRange, ingest
from spotlightd.flows.loads.context import IngestContext, IngestResult
from spotlightd.flows.loads.publish import Publications
from spotlightd.flows.loads.recovery import recover
from spotlightd.model.source import Period
from spotlightd.model.stream import Stream
from spotlightd.parse import columns, zipped
from spotlightd.ports.parser import ParseResult
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.tiers import NoArchives
from spotlightd.sql.visibility import visible_condition
from spotlightd.testing import MemoryDocuments, MemoryPublishers, Reply
from spotlightd.workers.inline import parse_inline
from tests.manual_clock import ManualClock

INDEX = "https://example.org/index"
PORT_CALLS = {
    name
    for module in pkgutil.iter_modules(ports.__path__)
    for port in vars(import_module(f"{ports.__name__}.{module.name}")).values()
    if isinstance(port, type)
    for name in vars(port)
}

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
    days, counts, lines = [], [], []
    for number, line in enumerate(body.path.read_text().splitlines(), 1):
        if line.startswith("!"):
            raise FormatError(f"refused as the document asks: {line}", line=number)
        if line.startswith("?"):
            yield Reject(0, number, line, "as the line asks")
            continue
        ((day, count),) = csv.reader(io.StringIO(line))
        days.append(date.fromisoformat(day))
        counts.append(int(count))
        lines.append(number)
    arrays = {
        "day": pa.array(days, pa.date32()), "count": pa.array(counts, pa.uint64()),
        "member": pa.array([0] * len(days), pa.uint16()), "line": pa.array(lines, pa.uint32()),
    }  # fmt: skip
    yield Rows(constructed_counts, pa.record_batch(arrays))


def source(parser: str = "1") -> Batch:
    return Batch(
        name="constructed", title="Constructed", home=INDEX, datasets=(constructed_counts,), discover=discover,
        parse=parse, parser=parser, hosts=("example.org",), cron="0 6 * * *",
        expected=lambda day: Expected(f"{day.year}", day), rejects_allowed=0.5, outside=OutsideRows.REFUSE,
    )  # fmt: skip


def repeating() -> Batch:
    """The same source, whose dataset says that keys may repeat."""
    dataset = replace(constructed_counts, key_may_repeat=True)

    def parse_repeating(body: Body) -> Iterator[Rows | Reject]:
        for item in parse(body):
            yield replace(item, dataset=dataset) if isinstance(item, Rows) else item

    return replace(source(), datasets=(dataset,), parse=parse_repeating)


class InlineParseSession:
    """A document parsed at once, in this process."""

    def __init__(self, items: list[Rows | Reject], error: FormatError | None, load_id: int, lines: int) -> None:
        self._items, self._error, self._load_id, self._lines = items, error, load_id, lines

    async def columns(self, dataset: str) -> AsyncIterator[bytes]:
        out = io.BytesIO()
        schema = columns.stored_schema(constructed_counts)
        with pa.ipc.new_stream(out, schema) as writer:
            for rows in self._items:
                if isinstance(rows, Rows) and rows.dataset.name == dataset:
                    writer.write_batch(_add_load(rows.columns, self._load_id))
        yield out.getvalue()

    @property
    def rejects(self) -> tuple[Reject, ...]:
        return tuple(item for item in self._items if isinstance(item, Reject))

    async def result(self) -> ParseResult:
        if self._error:
            raise self._error
        rows = sum(item.columns.num_rows for item in self._items if isinstance(item, Rows))
        return ParseResult({"constructed_counts": rows}, self.rejects, self._lines)


class InlineGroup:
    """Documents that are parsed one after the other, in this process. Of a refused one the rows before the error are sent."""

    problem = ""

    def __init__(self, source: Batch | Stream) -> None:
        self.rejects: tuple[Reject, ...] = ()
        self._source = source
        self._batches: list[pa.RecordBatch] = []
        self._finished = asyncio.Event()

    async def read(self, path: Path, name: str, *, load_id: int, period: Period | None = None) -> ParseResult:
        items: list[Rows | Reject] = []
        try:
            items.extend(parse_inline(self._source, path, name, period=period))
        finally:
            self.rejects = tuple(item for item in items if isinstance(item, Reject))
            batches = [item.columns for item in items if isinstance(item, Rows)]
            self._batches += [_add_load(batch, load_id) for batch in batches]
        rows = {"constructed_counts": sum(batch.num_rows for batch in batches)}
        return ParseResult(rows, self.rejects, len(path.read_bytes().splitlines()))

    async def columns(self, dataset: str) -> AsyncIterator[bytes]:
        assert dataset == "constructed_counts"
        await self._finished.wait()
        out = io.BytesIO()
        with pa.ipc.new_stream(out, columns.stored_schema(constructed_counts)) as writer:
            for batch in self._batches:
                writer.write_batch(batch)
        yield out.getvalue()

    async def finish(self) -> None:
        self._finished.set()


def _add_load(batch: pa.RecordBatch, load_id: int) -> pa.RecordBatch:
    schema = columns.stored_schema(constructed_counts)
    load = pa.repeat(pa.scalar(load_id, pa.uint64()), batch.num_rows)
    return batch.append_column("load_id", load).select(schema.names).cast(schema)


class InlineParser:
    @asynccontextmanager
    async def parse_group(self, source: Batch | Stream) -> AsyncIterator[InlineGroup]:
        yield InlineGroup(source)

    @asynccontextmanager
    async def parse(
        self, source: Batch | Stream, path: Path, name: str, *, load_id: int, period: Period | None = None
    ) -> AsyncIterator[InlineParseSession]:
        items: list[Rows | Reject] = []
        error = None
        try:
            items.extend(parse_inline(source, path, name, period=period))
        except FormatError as refused:
            error = refused
        yield InlineParseSession(items, error, load_id, len(path.read_bytes().splitlines()))

    async def content_digest(self, path: Path, name: str) -> str:
        return zipped.content_digest(Body(path, name))


CRASH_STRIDE = int(os.environ.get("SPOTLIGHTD_CRASH_STRIDE", "5"))


def crash_steps() -> Iterator[int]:
    """The steps to crash at: the first, and every fifth after it; `make soak` takes every one (SPOTLIGHTD_CRASH_STRIDE=1).

    The stride is odd, so that crashes before a call and crashes after one take turns.
    """
    return itertools.count(1, CRASH_STRIDE)


class CrashError(BaseException):
    """The process ends here: no code under test may catch this."""


@dataclass
class Fuse:
    """Counts the steps of stores and ends the process at a given one."""

    crash_step: int = -1
    steps: int = 0

    def step(self) -> None:
        self.steps += 1
        if 0 < self.crash_step <= self.steps:  # a process that has ended takes no further step, whatever cleans up
            raise CrashError


class Fused:
    """A store whose calls are two steps each: one before it acts, one after."""

    def __init__(self, store: Any, fuse: Fuse, only: Collection[str] = ()) -> None:
        """`only`: the calls that count as steps; all of them when empty. Each must be a call of some port: a name that
        no port has would count no step, and the test would crash nowhere.
        """
        assert set(only) <= PORT_CALLS, set(only) - PORT_CALLS
        self._store, self._fuse, self._only = store, fuse, only

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._store, name)
        if name in {"file", "stream", "read", "parse", "parse_group"} or (self._only and name not in self._only):
            return attribute

        async def call(*values: Any, **named: Any) -> Any:
            self._fuse.step()
            answer = await attribute(*values, **named)
            self._fuse.step()
            return answer

        return call


@dataclass
class World:
    """Everything that outlives a crash: files, tables, and the documents of the publisher."""

    folder: Path
    warehouse: Warehouse
    publishers: MemoryPublishers = field(default_factory=MemoryPublishers)
    clock: ManualClock = field(default_factory=ManualClock)  # pauses that a publisher requests cost no time
    documents: Any = field(init=False)

    def __post_init__(self) -> None:
        self.documents = MemoryDocuments(self.folder)

    def serve(self, documents: Mapping[str, str]) -> None:
        """Let the publisher serve these documents. A key is the slice, or the slice and the address."""
        self.publishers.replies.clear()
        self.publishers.replies[INDEX] = Reply("\n".join(documents).encode(), "text/html")
        for key, text in documents.items():
            covers, _, address = key.partition(" ")
            self.publishers.replies[address or url(covers)] = Reply(text.encode(), "text/csv")

    @asynccontextmanager
    async def stores(self, fuse: Fuse | None = None) -> AsyncIterator[IngestContext]:
        """The ingest context after a start of the daemon, recovery included."""
        async with SqliteLedger(self.folder / "ledger.sqlite") as ledger:
            fused: Callable[[Any], Any] = (lambda store: Fused(store, fuse)) if fuse else (lambda store: store)
            warehouse, fused_ledger = fused(self.warehouse), fused(ledger)
            publications = Publications(fused_ledger, warehouse)
            await recover(fused_ledger, warehouse, publications, (constructed_counts, *SYSTEM_DATASETS), NoArchives())
            yield IngestContext(
                fused(self.documents),
                fused_ledger,
                warehouse,
                InlineParser(),
                publications,
                clock=self.clock.to_clock(),
            )

    async def ingest(
        self, batch: Batch | None = None, *, fuse: Fuse | None = None, again: bool = True
    ) -> list[IngestResult]:
        """Start, ingest once, stop."""
        batch = batch or source()
        async with self.stores(fuse) as context:
            return await ingest(batch, self.publishers.for_source(batch), context, span=IngestRange(again=again))

    async def read_counts(self, seq: int = 2**63) -> dict[str, int]:
        """The counts by day in the snapshot `seq`. Fails when a day appears twice."""
        sql = f"SELECT day, count, count() FROM constructed_counts WHERE {visible_condition(constructed_counts)} GROUP BY day, count"
        answer = await self.warehouse.rows(sql, {"seq": seq})
        assert all(row[2] == 1 for row in answer.rows), answer.rows
        assert len({row[0] for row in answer.rows}) == len(answer.rows), answer.rows
        return {row[0].isoformat(): row[1] for row in answer.rows}

    async def count_stored(self) -> int:
        return int((await self.warehouse.rows("SELECT count() FROM constructed_counts")).rows[0][0])

    async def runs(self) -> list[tuple[str, str, str]]:
        """Outcome, covers and error of every run, oldest first."""
        async with SqliteLedger(self.folder / "ledger.sqlite") as ledger:
            return [(row[5], row[4], row[11]) for row in await ledger.history("runs", 0, 10_000)]


def back_up(ledger: Path, backup: Path) -> None:
    """Back up an open ledger as the documentation says."""
    with closing(sqlite3.connect(ledger)) as source_file, closing(sqlite3.connect(backup)) as target:
        source_file.backup(target)
