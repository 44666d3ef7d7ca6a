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
from functools import partial
from pathlib import Path
from typing import Any

import _peers
from ingest import PEERS, REAL, ROOT, install_peers

WARM = 2
WAYS = ("engine", "spotlightd", "pandas", "duckdb", "dlt")


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
    from _backfill import load_together  # noqa: PLC0415  (the peers have no spotlightd)

    return asyncio.run(load_together([packed for _, packed in files], WARM))


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
            print(f"   {seconds:.2f} s, {totals}", file=sys.stderr, flush=True)
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
