"""A small world for the explorer's tests: a real engine, constructed rows in real tables, the application on loopback.

Constructed: three half-months of fails for a handful of symbols, one of them republished with a correction, a new row
and one row less; a refused document; a reject. Each row is in a text document that is really stored.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.clients.documents.folder import FolderDocuments
from spotlightd.datasets import system
from spotlightd.engine.lock import state_lock
from spotlightd.engine.process import Engine
from spotlightd.errors import FormatError
from spotlightd.model.dataset import Dataset
from spotlightd.model.disk import Ballast, DiskState, DiskUsage, FileSystem, Folder, Level, Watermarks, find_holds
from spotlightd.model.disk_forecast import forecast
from spotlightd.ports.parser import Excerpt, ExcerptLine
from spotlightd.settings import stores
from spotlightd.settings.serving import WebSettings
from spotlightd.sources import sec_ftd
from spotlightd.web.app import build_application, serve
from spotlightd.web.state import DaemonState, EngineState, ExplorerContext, FlowState

FAILS = sec_ftd.sec_ftd
STARTED = datetime(2021, 3, 20, 9, 0, tzinfo=UTC)
HOSTILE = "=<script>alert(1)</script> & \"Co\" \\ 'x'"
COMPANIES = (
    ("GME", "36467W109", "GAMESTOP CORP (HLDG CO) CL A", "19.9500"),
    ("AMC", "00165C104", "AMC ENTERTAINMENT HOLDINGS INC", "2.1000"),
    ("BRK/B", "084670702", "BERKSHIRE HATHAWAY INC CL B", "231.8700"),
    ("ZERO", "000000001", "ZERO\0NUL HOLDINGS", None),
    ("EVIL", "E00000009", HOSTILE, "0.0100"),
    ("", "999999999", "CNS INELIGIBLE", None),
)
Row = tuple[date, str, str, int, str, Decimal | None]


def half_month(first: date, days: int, seed: int) -> list[Row]:
    rows: list[Row] = []
    for offset in range(days):
        day = first + timedelta(days=offset)
        for at, (symbol, cusip, name, price) in enumerate(COMPANIES):
            quantity = 1_000 + (seed * 7919 + offset * 104_729 + at * 1_299_709) % 900_000
            rows.append((day, cusip, symbol, quantity, name, Decimal(price) if price else None))
    return rows


@dataclass
class World:
    """What a test may use. `address` is that of the explorer. `served` starts another application with a changed context."""

    address: str
    context: ExplorerContext
    warehouse: ClickHouse
    documents: FolderDocuments
    digests: dict[str, str] = field(default_factory=dict)
    session: aiohttp.ClientSession | None = None

    async def get(self, path: str, **options: Any) -> tuple[int, str, aiohttp.ClientResponse]:
        assert self.session
        options.setdefault("allow_redirects", False)
        async with self.session.get(self.address + path, **options) as answer:
            return answer.status, await answer.text(), answer

    @asynccontextmanager
    async def served(self, **changes: Any) -> AsyncIterator[World]:
        """The same world through another application, with these changes of its context."""
        context = replace(self.context, **changes)
        async with serve(build_application(context), "127.0.0.1", 0) as port:
            yield replace(self, address=f"http://127.0.0.1:{port}", context=context)


def to_document(rows: Sequence[Row]) -> bytes:
    lines = ["SETTLEMENT DATE|CUSIP|SYMBOL|QUANTITY (FAILS)|DESCRIPTION|PRICE"]
    lines += [f"{d:%Y%m%d}|{c}|{s}|{q}|{n}|{'.' if p is None else p}" for d, c, s, q, n, p in rows]
    return ("\n".join(lines) + "\n").encode("latin-1")


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


@dataclass
class Publishing:
    """Writes what the flows would write: documents, rows, publications, runs, rejects."""

    warehouse: ClickHouse
    documents: FolderDocuments
    ids: int = 0

    async def document(self, name: str, body: bytes, covers: str) -> str:
        stored = await self.documents.put(_once(body))
        self.ids += 1
        url = f"https://www.sec.gov/files/data/{name}"
        row = (self.ids, stored.digest, stored.size, "sec_ftd", url, "", covers, STARTED, '"e"', "", "application/zip")
        await self.warehouse.insert(system.documents, [row])
        return stored.digest

    async def load(
        self, seq: int, digest: str, covers: str, rows: Sequence[Row], supersedes: Sequence[int] = ()
    ) -> None:
        load_id = 1000 + seq
        placed = [(*row, load_id, 0, at) for at, row in enumerate(rows, 2)]
        await self.warehouse.insert(FAILS, placed)
        at = STARTED + timedelta(minutes=seq)
        row = (seq, FAILS.name, load_id, "sec_ftd", covers, digest, "1", len(rows), 0, list(supersedes), at, 0)
        await self.warehouse.insert(system.loads, [row])
        self.ids += 1
        run = (self.ids, at, "sec_ftd", "https://www.sec.gov/x", covers, "published", digest, len(rows), 0, 9, 0.5, "")
        await self.warehouse.insert(system.runs, [run])

    async def refusal(self, digest: str, covers: str, sentence: str) -> None:
        self.ids += 1
        run = (self.ids, STARTED, "sec_ftd", "https://www.sec.gov/y", covers, "refused", digest, 0, 1, 9, 0.5, sentence)
        await self.warehouse.insert(system.runs, [run])
        reject = (self.ids, STARTED, "sec_ftd", digest, "1", 0, 3, "2021<b>\0|", "has 2 fields, not 6")
        await self.warehouse.insert(system.rejects, [reject])


def corrected(rows: list[Row]) -> list[Row]:
    """The same half-month, published again: GME's balance of its first day changed, AMC's first row gone."""
    first = rows[0]
    return [(*first[:3], first[3] + 555, *first[4:]), *rows[2:]]


async def _filled(warehouse: ClickHouse, documents: FolderDocuments) -> dict[str, str]:
    for dataset in (*system.SYSTEM_DATASETS, FAILS):
        await warehouse.ensure(dataset)
    publishing = Publishing(warehouse, documents)
    digests: dict[str, str] = {}
    slices = {"2021/01/a": half_month(date(2021, 1, 4), 9, 1), "2021/01/b": half_month(date(2021, 1, 15), 11, 2)}
    for seq, (covers, rows) in enumerate(slices.items(), 1):
        digests[covers] = await publishing.document(f"cnsfails{covers.replace('/', '')}.zip", to_document(rows), covers)
        await publishing.load(seq, digests[covers], covers, rows)
    again = corrected(slices["2021/01/b"])
    digests["again"] = await publishing.document("cnsfails202101b.zip", to_document(again), "2021/01/b")
    await publishing.load(3, digests["again"], "2021/01/b", again, supersedes=[1002])
    digests["refused"] = await publishing.document("cnsfails202102b.zip", b"not as it should be\n", "2021/02/b")
    await publishing.refusal(
        digests["refused"], "2021/02/b", "cnsfails202102b.zip: the line <Trailer record count> is missing"
    )
    return digests


def state() -> DaemonState:
    flows = (
        FlowState("collect sec_ftd", "waiting", STARTED, progress="3 of 4 documents"),
        FlowState("bookkeeping", "at work", STARTED, restarts=1, error="once <b>fell</b>"),
    )
    engine = EngineState("Landlock ABI 4", restarts=2, pid=42)
    confinement = {"parser": "no Landlock: Function not implemented, seccomp", "verifier": ""}
    return DaemonState("0.1.0", STARTED, engine, flows, confinement=confinement)


def excerpts(documents: FolderDocuments) -> Any:
    """Lines of a plain text document, as the parser child gives those of archives."""

    async def excerpt(digest: str, member: int, line: int, around: int, *, with_picture: bool = False) -> Excerpt:
        del with_picture  # these documents are texts
        async with documents.file(digest) as path:
            lines = (await asyncio.to_thread(path.read_bytes)).decode("latin-1").split("\n")
        if member or line >= len(lines):
            raise FormatError(f"the document has no line {line} in member {member}")
        first = max(line - around, 1)
        excerpt_lines = [
            ExcerptLine(number, lines[number - 1]) for number in range(first, min(line + around, len(lines) - 1) + 1)
        ]
        return Excerpt("cnsfails.txt", tuple(excerpt_lines))

    return excerpt


def disks() -> DiskState:
    """Constructed: a disk that is too full, and one that grows."""
    tables = Folder("tables", Path("/srv/<b>data</b>/engine"), ("batch loads", "the sink"))
    ballast = Ballast(tables.path / "ballast", 10**9, 0, "it was released, and is made again when there is room")
    full = FileSystem(
        DiskUsage("/srv/<b>data</b>", 10**12, 971 * 10**9), Level.BALLAST_RELEASED, (tables,), forecast(14_600.0, 29 * 10**9),
        ballast, "the disk of tables did not answer within 3 s: does it hang?",
    )  # fmt: skip
    other = FileSystem(DiskUsage("/", 10**11, 2 * 10**10), Level.FINE, (Folder("temporary files", Path("/tmp")),))
    file_systems, marks = (full, other), Watermarks()
    return DiskState(marks, file_systems, find_holds(file_systems, marks), {"ledger": 123_456})


@asynccontextmanager
async def open_world(folder: Path, web: WebSettings | None = None) -> AsyncIterator[World]:
    """Engine, tables, rows, explorer and a client: all closed at the end."""
    async with AsyncExitStack() as stack:
        held = stack.enter_context(state_lock(folder))
        engine = await stack.enter_async_context(Engine(held, stores.EngineSettings()))
        warehouse = await stack.enter_async_context(
            ClickHouse(engine.url, engine.user, engine.password, "spotlightd", stores.WarehouseSettings())
        )
        documents = await stack.enter_async_context(FolderDocuments(folder / "documents"))
        digests = await _filled(warehouse, documents)
        context = ExplorerContext(
            warehouse, documents, (FAILS, *system.SYSTEM_DATASETS), (sec_ftd.source,), web or WebSettings(), state, excerpts(documents),
            judged_on=date(2021, 3, 20), notice="Demo: constructed rows of 2021", disks=disks,
        )  # fmt: skip
        port = await stack.enter_async_context(serve(build_application(context), "127.0.0.1", 0))
        session = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=True))
        yield World(f"http://127.0.0.1:{port}", context, warehouse, documents, digests, session)


@asynccontextmanager
async def open_database(world: World, name: str, datasets: Sequence[Dataset]) -> AsyncIterator[World]:
    """The same world with an empty database of its own in the same engine: its tables hold only what a test puts there."""
    engine = world.warehouse
    settings = stores.WarehouseSettings()
    async with ClickHouse(engine._url.geturl(), engine._user, engine._password, name, settings) as warehouse:
        for dataset in (*system.SYSTEM_DATASETS, *datasets):
            await warehouse.ensure(dataset)
        async with world.served(warehouse=warehouse, datasets=(*datasets, *system.SYSTEM_DATASETS)) as served:
            yield replace(served, warehouse=warehouse)


async def publish(world: World, dataset: Dataset, rows: Sequence[Sequence[Any]]) -> None:
    """The rows as those of a document that was published: each with its place in it."""
    (newest,) = (await world.warehouse.rows("SELECT max(seq) FROM loads")).rows[0]
    seq, covers, digest = newest + 1, f"constructed/{newest + 1}", sha256(repr(rows).encode())
    await world.warehouse.insert(dataset, [(*row, 1000 + seq, 0, line) for line, row in enumerate(rows, 1)])
    at = STARTED + timedelta(minutes=seq)
    load: tuple[Any, ...] = (seq, dataset.name, 1000 + seq, "sec_ftd", covers, digest, "1", len(rows), 0, [], at, 0)
    await world.warehouse.insert(system.loads, [load])


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
