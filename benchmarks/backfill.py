"""Twenty half-months in one backfill: the processor time of all processes, compared with the engine's own CSV reader.

Each way runs in a process of its own, warmed by two documents that are not counted; rounds go through all ways in turn,
ratios are taken within a round, then their median:

engine      the limit: chDB reads the already inflated text with its own CSV reader into the same table, fsync on
spotlightd  publisher → documents → parser child → HTTP → table → published, all documents due at once
pandas      inflate, read_csv, chDB table
duckdb      DuckDB reads the already inflated text with its own CSV reader into a file of its own
dlt         pandas chunks → DuckDB

The documents are a real half-month with the days of other months. What spotlightd stored is checked against the
publisher's trailers. The peers' packages are those of ingest.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import _peers
from ingest import PEERS, REAL, ROOT, install_peers
from small import Lists, processor_seconds

WARM = 2
WAYS = ("engine", "spotlightd", "pandas", "duckdb", "dlt")
ADDRESS = "https://www.sec.gov/files/data/"


def make_half_months(folder: Path, count: int) -> list[tuple[Path, Path]]:
    """The real half-month as that of `count` months, as text and as zip."""
    with zipfile.ZipFile(REAL) as archive:
        text = archive.read(archive.namelist()[0])
    pairs = []
    for number in range(count):
        month = f"{2004 + number // 12}{number % 12 + 1:02}"
        plain, packed = folder / f"cnsfails{month}a.txt", folder / f"cnsfails{month}a.zip"
        plain.write_bytes(text.replace(b"\n202101", b"\n" + month.encode()))
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(plain, plain.name)
        pairs.append((plain, packed))
    return pairs


def by_spotlightd(files: list[tuple[Path, Path]]) -> tuple[list[float], list[int]]:
    return asyncio.run(_by_spotlightd([packed for _, packed in files]))


async def _by_spotlightd(files: list[Path]) -> tuple[list[float], list[int]]:
    from spotlightd import log  # noqa: PLC0415
    from spotlightd.runtime.instance import open_instance  # noqa: PLC0415
    from spotlightd.settings.settings import Settings  # noqa: PLC0415

    log.configure("warning")
    with tempfile.TemporaryDirectory(dir=files[0].parent) as folder:
        async with open_instance(replace(Settings(), state_dir=Path(folder))) as instance:
            await _ingest(instance, files[:WARM])
            before = processor_seconds(instance)
            await _ingest(instance, files[WARM:])
            after = processor_seconds(instance)
            sql = "SELECT count(), sum(quantity) FROM sec_ftd WHERE load_id = (SELECT max(load_id) FROM loads)"
            totals = [int(total) for total in (await instance.warehouse.rows(sql)).rows[0]]
    spent = {name: after[name] - before[name] for name in after}
    print(f"   {spent}", file=sys.stderr, flush=True)
    return [0.0] * WARM + [sum(spent.values())], totals


async def _ingest(instance: Any, files: list[Path]) -> None:
    from spotlightd.flows.batch.ingest import ingest  # noqa: PLC0415
    from spotlightd.model.source import Batch  # noqa: PLC0415

    source: Batch = instance.catalog.sources[0]
    publisher = _Folder({f"{ADDRESS}{file.name}": file.read_bytes() for file in files})
    results = await ingest(source, publisher, instance.ingest_context())
    assert [result.outcome for result in results] == ["published"] * len(files), results


class _Folder(Lists):
    """A publisher of these files, with an index page."""

    async def page(self, url: str) -> str:
        del url
        return "".join(f'<a href="{address}">x</a>' for address in self.documents)


RUNS: dict[str, _peers.Way] = {
    "engine": _peers.in_engine(_peers.by_engine, time.process_time),
    "spotlightd": by_spotlightd,
    "pandas": _peers.in_engine(_peers.by_pandas, time.process_time),
    "duckdb": partial(_peers.by_duckdb, clock=time.process_time),
    "dlt": partial(_peers.by_dlt, clock=time.process_time),
}


def run_once(way: str, files: list[tuple[Path, Path]]) -> tuple[float, list[int]]:
    """Run one way in a process of its own. Returns the processor time of the counted documents."""
    python = str(PEERS) if way in {"dlt", "duckdb"} else sys.executable
    paths = [str(path) for pair in files for path in pair]
    done = subprocess.run([python, __file__, "--one", way, *paths], stdout=subprocess.PIPE, check=True, cwd=ROOT)
    seconds, totals = json.loads(done.stdout)
    return sum(seconds[WARM:]), totals


def measure(documents: int, rounds: int, folder: Path) -> dict[str, Any]:
    files = make_half_months(folder, WARM + documents)
    spent: dict[str, list[float]] = {way: [] for way in WAYS}
    expected: list[int] | None = None
    for number in range(rounds):
        for way in WAYS:
            print(f"  {documents} half-months, round {number + 1}, {way}", file=sys.stderr, flush=True)
            seconds, totals = run_once(way, files)
            expected = expected or totals
            assert totals == expected, (way, totals, expected)
            spent[way].append(seconds)
    return {
        "documents": documents,
        "processor_s": {way: round(statistics.median(seconds), 2) for way, seconds in spent.items()},
        "of_the_engine": {
            way: round(statistics.median(own / limit for own, limit in zip(seconds, spent["engine"], strict=True)), 2)
            for way, seconds in spent.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        way, *paths = arguments.one
        files = [(Path(plain), Path(packed)) for plain, packed in zip(paths[::2], paths[1::2], strict=True)]
        print(json.dumps(RUNS[way](files)))
        return
    install_peers()
    folder = Path(tempfile.mkdtemp(prefix="spotlightd-backfill-"))
    try:
        print(json.dumps(measure(arguments.documents, arguments.rounds, folder), indent=2))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
