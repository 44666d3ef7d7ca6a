"""Many small documents: the processor time of each, from its bytes to its publication, and how long the event loop is held.

The documents are lists of one day each, constructed from the rows of a real file of fails to deliver, and served by a
publisher in memory. They go the way of the daemon: fetched, stored, parsed in the child, inserted, counted, published. The
time is that of all processes (`own`: the daemon's; `engine`; `parser`), after a warm-up of a few documents.

yardstick_ms  the processor time of a fixed piece of Python: 40 on the development machine when nothing else runs
visible_s     from the last byte of the last document until all are visible
held_ms       the longest time, in processor time of the thread, that one callback held the event loop
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import shutil
import sys
import tempfile
import time
import zipfile
from asyncio import events
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psutil

from spotlightd import log
from spotlightd.flows.batch.ingest import ingest
from spotlightd.model.source import Batch, Link, Pages
from spotlightd.ports.publisher import PublisherResponse
from spotlightd.runtime.instance import Instance, open_instance
from spotlightd.settings.settings import Settings
from spotlightd.sources.sec_ftd import source as sec_ftd

REAL = Path(__file__).resolve().parent.parent / "spotlightd/demo/data/cnsfails202101a.zip"
FIRST_DAY = date(1975, 1, 1)
WARM = 20
HOST = "https://www.sec.gov/files/"


@dataclass(frozen=True, slots=True)
class Lists:
    """The constructed documents, by address."""

    documents: Mapping[str, bytes]
    last_byte: list[float] = field(default_factory=list)

    async def page(self, url: str, *, post: str | None = None) -> str:
        del post
        return url

    @asynccontextmanager
    async def fetch(
        self, url: str, *, etag: str = "", last_modified: str = "", post: str | None = None, is_probe: bool = False
    ) -> AsyncIterator[PublisherResponse | None]:
        del etag, last_modified, post, is_probe
        yield PublisherResponse(url, "", "", "", "application/zip", self._chunks(url))

    async def _chunks(self, url: str) -> AsyncIterator[bytes]:
        yield self.documents[url]
        self.last_byte[:] = [time.perf_counter()]


def make_lists(first: int, count: int, rows: int) -> Lists:
    """`count` lists of `rows` rows, from the day with that number on."""
    with zipfile.ZipFile(REAL) as archive:
        head, *body = archive.read(archive.namelist()[0]).splitlines(keepends=True)
    return Lists({_address(day): _make_list(head, body[:-2], day, rows) for day in range(first, first + count)})


def _address(day: int) -> str:
    return f"{HOST}cnsfails202101a-{FIRST_DAY + timedelta(days=day)}.zip"


def _make_list(head: bytes, body: list[bytes], day: int, rows: int) -> bytes:
    at = day * rows % (len(body) - rows)
    stamp = f"{FIRST_DAY + timedelta(days=day):%Y%m%d}".encode()
    lines = [stamp + line[8:] for line in body[at : at + rows]]
    shares = sum(int(line.split(b"|")[3]) for line in lines)
    end = b"Trailer record count %d\nTrailer total quantity of shares %d\n" % (rows, shares)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cnsfails202101a.txt", head + b"".join(lines) + end)
    return packed.getvalue()


def source_of(lists: Lists) -> Batch:
    """Fails to deliver, published in these lists of a day."""

    async def discover(pages: Pages) -> AsyncIterator[Link]:
        del pages
        for url in lists.documents:
            day = date.fromisoformat(url.removeprefix(f"{HOST}cnsfails202101a-").removesuffix(".zip"))
            yield Link(url, f"{day:%Y/%m/%d}", day, day)

    dataset = replace(sec_ftd.datasets[0], rhythm=replace(sec_ftd.datasets[0].rhythm, rows=(1, 1 << 40)))
    return replace(sec_ftd, discover=discover, datasets=(dataset,), least_links=1)


def processor_seconds(instance: Instance) -> dict[str, float]:
    own = psutil.Process()
    engine = psutil.Process(instance.engine.pid) if instance.engine else own
    others = [child for child in own.children(recursive=True) if child.pid != engine.pid]
    spent = {"own": [own], "engine": [engine], "parser": others}
    return {name: sum(sum(process.cpu_times()[:2]) for process in processes) for name, processes in spent.items()}


@contextmanager
def measure_held() -> Iterator[list[float]]:
    """The longest processor time of one callback of the event loop while the block runs."""
    longest = [0.0]
    run = events.Handle._run  # noqa: SLF001

    def timed(handle: Any) -> None:
        began = time.thread_time()
        run(handle)
        longest[0] = max(longest[0], time.thread_time() - began)

    setattr(events.Handle, "_run", timed)  # noqa: B010
    try:
        yield longest
    finally:
        setattr(events.Handle, "_run", run)  # noqa: B010


async def measure(documents: int, rows: int, folder: Path) -> dict[str, Any]:
    log.configure("warning")
    async with open_instance(replace(Settings(), state_dir=folder)) as instance:
        await _ingest(instance, make_lists(0, WARM, rows))
        lists = make_lists(WARM, documents, rows)
        print(f"   {documents:,} documents of {rows} rows", file=sys.stderr, flush=True)
        before, began = processor_seconds(instance), time.perf_counter()
        with measure_held() as held:
            await _ingest(instance, lists)
        ended, after = time.perf_counter(), processor_seconds(instance)
        sql = "SELECT count(), uniqExact(load_id) FROM sec_ftd WHERE load_id IN (SELECT load_id FROM loads)"
        stored = [int(number) for number in (await instance.warehouse.rows(sql)).rows[0]]
    assert stored == [(documents + WARM) * rows, documents + WARM], stored
    spent = {name: round(1000 * (after[name] - before[name]) / documents, 2) for name in after}
    return {
        "documents": documents,
        "rows": rows,
        "processor_ms_a_document": round(sum(spent.values()), 2),
        "processor_ms": spent,
        "yardstick_ms": round(1000 * yardstick(), 1),
        "wall_s": round(ended - began, 2),
        "visible_s": round(ended - lists.last_byte[0], 2),
        "held_ms": round(1000 * held[0], 1),
    }


def yardstick() -> float:
    began = time.process_time()
    sum(number * number for number in range(1_000_000))
    return time.process_time() - began


async def _ingest(instance: Instance, lists: Lists) -> None:
    results = await ingest(source_of(lists), lists, instance.ingest_context())
    assert {result.outcome for result in results} == {"published"}, results[:3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1_000)
    parser.add_argument("--rows", type=int, default=50)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="spotlightd-small-"))
    try:
        print(json.dumps(asyncio.run(measure(arguments.documents, arguments.rows, folder)), indent=2))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
