"""Swap messages of DTCC: a constructed day of 30,000 messages in 110 fields beside the limit and the peers, and 1,000 slices.

The day is made of the real messages of 2026-07-15, repeated under other numbers. Times are of all processors: of the process
of a peer, and of the daemon, its engine and its parser. Each way runs in a process of its own, warmed by one load that is not
counted; rounds go through all ways in turn, ratios are taken within a round, then their median.

engine      the limit: chDB reads the inflated text with its own CSV reader into a table of the same columns
spotlightd  publisher → documents → parser child → engine → published, with flags, receipts and checks
pandas      inflate, read_csv, the engine's conversions into that table
duckdb      its own CSV reader and conversions, from the inflated text into a file
dlt         pandas chunks → DuckDB, all fields as texts

slices: documents of five messages that wait, loaded as the daemon does; the processor time of each. Then some that come alone:
`alone_s` is the median time of the clock from the request until the rows are visible, `alone_most_s` the longest.

yardstick_ms: the processor time of a fixed piece of Python: 40 on the development machine when nothing else runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _swaps_peers
from _memory import read_high_water

if TYPE_CHECKING:
    from spotlightd.ports.publisher import PublisherResponse
    from spotlightd.runtime.instance import Instance

ROOT = Path(__file__).resolve().parent.parent
CASES = ROOT / "tests/golden/dtcc_cftc_rates/day_2026_07_15/CFTC_CUMULATIVE_RATES_2026_07_15.zip"
PEERS = ROOT / ".cache/peers/bin/python"
WAYS = ("engine", "spotlightd", "pandas", "duckdb", "dlt")
OF_PEERS = ("duckdb", "dlt")
WARM, WARM_SLICES, ALONE = 1, 20, 9
BUCKET = "https://kgc0418-tdw-data-0.s3.amazonaws.com/cftc"


@dataclass(frozen=True, slots=True)
class Files:
    """A publisher of documents that are files, by address. Their number and day are in their names."""

    files: Mapping[str, Path]

    async def page(self, url: str, *, post: str | None = None) -> str:
        del post
        return url

    @asynccontextmanager
    async def fetch(
        self, url: str, *, etag: str = "", last_modified: str = "", post: str | None = None, is_probe: bool = False
    ) -> AsyncIterator[PublisherResponse | None]:
        from spotlightd.ports.publisher import PublisherResponse  # noqa: PLC0415

        del etag, last_modified, post, is_probe
        yield PublisherResponse(url, "", "", "", "application/zip", self._chunks(url))

    async def _chunks(self, url: str) -> AsyncIterator[bytes]:
        with self.files[url].open("rb") as file:
            while piece := file.read(1 << 16):
                yield piece


def read_real() -> tuple[str, list[str]]:
    """The header, and the real messages without their numbers."""
    with zipfile.ZipFile(CASES) as archive:
        header, *lines = archive.read(archive.namelist()[0]).decode().rstrip("\n").split("\n")
    return header, [line.partition(",")[2] for line in lines]


def make_document(folder: Path, name: str, first: int, rows: int) -> tuple[Path, Path]:
    """Write real messages as text and as zip, with the numbers from `first` on."""
    header, lines = read_real()
    numbered = [f"{5_000_000_000_000_000_000 + first + row},{lines[(first + row) % len(lines)]}" for row in range(rows)]
    plain, packed = folder / f"{name}.csv", folder / f"{name}.zip"
    plain.write_text("\n".join([header, *numbered, ""]))
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(plain, plain.name)
    return plain, packed


def by_spotlightd(files: list[tuple[Path, Path]]) -> tuple[list[float], list[int]]:
    return asyncio.run(_by_spotlightd([packed for _, packed in files]))


async def _by_spotlightd(files: list[Path]) -> tuple[list[float], list[int]]:
    from spotlightd import log  # noqa: PLC0415
    from spotlightd.runtime.instance import open_instance  # noqa: PLC0415
    from spotlightd.settings.settings import Settings  # noqa: PLC0415

    log.configure("warning")
    seconds = []
    with tempfile.TemporaryDirectory(dir=files[0].parent) as folder:
        async with open_instance(replace(Settings(), state_dir=Path(folder))) as instance:
            for file in files:
                before = processor_seconds(instance)
                await load(instance, {f"{BUCKET}/eod/{file.name}": file})
                after = processor_seconds(instance)
                seconds.append(sum(after.values()) - sum(before.values()))
            sql = "SELECT count(), toInt64(sum(notional_1)) FROM swaps WHERE load_id = {load_id:UInt64}"
            answer = await instance.warehouse.rows(sql, {"load_id": len(files)})
    return seconds, [int(total) for total in answer.rows[0]]


async def load(instance: Instance, files: Mapping[str, Path]) -> None:
    """Fetch, store, parse, load and publish the files with the daemon's own flow."""
    from spotlightd import Link, Pages  # noqa: PLC0415
    from spotlightd.flows.batch.ingest import ingest  # noqa: PLC0415
    from spotlightd.sources.dtcc import cftc_rates, repository  # noqa: PLC0415

    async def discover(pages: Pages) -> AsyncIterator[Link]:
        del pages
        for url in files:
            match = repository.NAME.search(url)
            assert match, url
            day = date(int(match["year"]), int(match["month"]), int(match["day"]))
            yield Link(url, repository.cover(day, int(match["number"] or 0)), day, day)

    source = replace(cftc_rates.source, discover=discover)
    results = await ingest(source, Files(files), instance.ingest_context())
    assert {result.outcome for result in results} == {"published"}, results[:3]


def processor_seconds(instance: Instance) -> dict[str, float]:
    import psutil  # noqa: PLC0415

    own = psutil.Process()
    engine = psutil.Process(instance.engine.pid) if instance.engine else own
    others = [child for child in own.children(recursive=True) if child.pid != engine.pid]
    spent = {"own": [own], "engine": [engine], "parser": others}
    return {name: sum(sum(process.cpu_times()[:2]) for process in processes) for name, processes in spent.items()}


RUNS: dict[str, _swaps_peers.Way] = {
    "engine": _swaps_peers.by_engine,
    "spotlightd": by_spotlightd,
    "pandas": _swaps_peers.by_pandas,
    "duckdb": _swaps_peers.by_duckdb,
    "dlt": _swaps_peers.by_dlt,
}


def run_once(way: str, files: list[tuple[Path, Path]]) -> dict[str, Any]:
    """Run one way in a process of its own. The peers' Python lacks spotlightd, so DuckDB's statement is made here."""
    python = str(PEERS) if way in OF_PEERS else sys.executable
    paths = [str(path) for pair in files for path in pair]
    environment = os.environ | ({"SWAPS_DUCKDB": _swaps_peers.make_duckdb_select()} if way == "duckdb" else {})
    command = [python, __file__, "--one", way, *paths]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=ROOT, env=environment)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def run_way(way: str, paths: list[str]) -> None:
    files = [(Path(plain), Path(packed)) for plain, packed in zip(paths[::2], paths[1::2], strict=True)]
    seconds, totals = RUNS[way](files)
    print(json.dumps({"seconds": seconds, "totals": totals, "peak_mb": round(read_high_water() / 1e6, 1)}))


def measure_day(rows: int, rounds: int, folder: Path) -> dict[str, Any]:
    warm = [
        make_document(folder, f"CFTC_CUMULATIVE_RATES_2026_07_{day + 1:02}", day * rows, rows) for day in range(WARM)
    ]
    timed = make_document(folder, "CFTC_CUMULATIVE_RATES_2026_07_16", WARM * rows, rows)
    results: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for number in range(rounds):
        for way in WAYS:
            print(f"  {rows} rows, round {number + 1}, {way}", file=sys.stderr, flush=True)
            result = run_once(way, [*warm, timed])
            expected = results["engine"][0]["totals"] if results["engine"] else result["totals"]
            assert result["totals"] == expected, (way, result, expected)
            results[way].append(result | {"seconds": result["seconds"][-1]})
    limit = [result["seconds"] for result in results["engine"]]
    return {"rows": rows, "ways": {way: _summarize(limit, found) for way, found in results.items()}}


def _summarize(limit: list[float], results: list[dict[str, Any]]) -> dict[str, Any]:
    ratios = [fastest / result["seconds"] for fastest, result in zip(limit, results, strict=True)]
    return {
        "processor_seconds": round(statistics.median(result["seconds"] for result in results), 2),
        "of_the_limit": round(statistics.median(ratios), 3),
        "peak_mb": max(result["peak_mb"] for result in results),
    }


async def measure_slices(slices: int, rows: int, folder: Path) -> dict[str, Any]:
    from spotlightd import swaps  # noqa: PLC0415
    from spotlightd.runtime.instance import open_instance  # noqa: PLC0415
    from spotlightd.settings.settings import Settings  # noqa: PLC0415
    from spotlightd.sql.visibility import visible_condition  # noqa: PLC0415

    header, lines = read_real()

    def make_slices(first: int, count: int) -> dict[str, Path]:
        files = dict[str, Path]()
        for number in range(first, first + count):
            name = f"CFTC_SLICE_RATES_2026_07_16_{number}"
            numbered = [f"{number * 1000 + row},{lines[(number * rows + row) % len(lines)]}" for row in range(rows)]
            with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(f"{name}.csv", "\n".join([header, *numbered, "", ""]))
            files[f"{BUCKET}/slices/{name}.zip"] = folder / f"{name}.zip"
        return files

    async with open_instance(replace(Settings(), state_dir=folder / "state")) as instance:
        await load(instance, make_slices(1, WARM_SLICES))
        waiting = make_slices(1 + WARM_SLICES, slices)
        before, began = processor_seconds(instance), time.perf_counter()
        await load(instance, waiting)
        after, ended = processor_seconds(instance), time.perf_counter()
        alone = list[float]()
        for number in range(ALONE):
            single, since = make_slices(1 + WARM_SLICES + slices + number, 1), time.perf_counter()
            await load(instance, single)
            alone.append(time.perf_counter() - since)
        sql = f"SELECT count() FROM swaps WHERE {visible_condition(swaps)}"
        stored = (await instance.warehouse.rows(sql, {"seq": 2**63})).rows[0][0]
    assert int(stored) == (slices + WARM_SLICES + ALONE) * rows, stored
    spent = {name: round(1000 * (after[name] - before[name]) / slices, 2) for name in after}
    return {
        "slices": slices,
        "rows": rows,
        "processor_ms_a_slice": round(sum(spent.values()), 2),
        "processor_ms": spent,
        "wall_s": round(ended - began, 2),
        "alone_s": round(statistics.median(alone), 2),
        "alone_most_s": round(max(alone), 2),
        "yardstick_ms": round(1000 * yardstick(), 1),
    }


def yardstick() -> float:
    began = time.process_time()
    sum(number * number for number in range(1_000_000))
    return time.process_time() - began


def install_peers() -> None:
    """Install dlt and its dependencies, apart from the packages of spotlightd."""
    if not PEERS.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS.parent.parent)], check=True)
        packages = ["dlt[duckdb]==1.31.0", "pandas", "pyarrow"]
        subprocess.run([str(PEERS), "-m", "pip", "install", "--quiet", *packages], check=True, stdout=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slices", type=int, default=1_000)
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        run_way(arguments.one[0], arguments.one[1:])
        return
    from spotlightd import log  # noqa: PLC0415

    log.configure("warning")
    install_peers()
    folder = Path(tempfile.mkdtemp(prefix="spotlightd-swaps-"))
    try:
        day = measure_day(arguments.rows, arguments.rounds, folder) if arguments.rounds else {}
        slices = asyncio.run(measure_slices(arguments.slices, 5, folder)) if arguments.slices else {}
        print(json.dumps({"day": day, "slices": slices}, indent=2))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
