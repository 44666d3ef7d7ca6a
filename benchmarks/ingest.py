"""FTD zip to published rows with pointers, compared with the engine's own CSV reader and with three peers.

Ways, each in a process of its own, warmed by two small loads that are not counted; rounds go through all ways in turn,
ratios are taken within a round, then their median:

engine      the limit: chDB reads the already inflated text with its own CSV reader into the same table, fsync on
spotlightd  publisher → documents → parser child → HTTP → table → published, fsync on, everything that the daemon does
pandas      inflate, read_csv, chDB table
csv         the same with the standard library's reader
dlt         pandas chunks → DuckDB

Every load is checked against the publisher's two trailers. `--rows 48215 1012515 --rounds 3`. The peers' packages are
installed into .cache/peers, apart from those of spotlightd.
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
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _peers
from _memory import read_high_water

if TYPE_CHECKING:
    from spotlightd.ports.publisher import PublisherResponse
    from spotlightd.runtime.instance import Instance

ROOT = Path(__file__).resolve().parent.parent
REAL = ROOT / "spotlightd/demo/data/cnsfails202101a.zip"
PEERS = ROOT / ".cache/peers/bin/python"
WARM, TIMED = 2, 3
WAYS = ("engine", "spotlightd", "pandas", "csv", "dlt")


def make_document(folder: Path, rows: int, mark: int = 0) -> tuple[Path, Path, int, int]:
    """Write the real file's rows, repeated, as text and as zip. Returns both files and the numbers of rows and shares.

    The mark is the month, 0 for January: rows of other days than the document's, or of keys that are there already, would be
    refused.
    """
    with zipfile.ZipFile(REAL) as archive:
        head, *body = archive.read(archive.namelist()[0]).splitlines(keepends=True)
    body = [b"2021%02d" % (mark + 1) + line[6:] for line in body[:-2]]
    times = max(1, round(rows / len(body)))
    count, shares = len(body) * times, times * sum(int(line.split(b"|")[3]) for line in body)
    end = f"Trailer record count {count}\nTrailer total quantity of shares {shares}\n".encode()
    plain, packed = folder / f"ftd-{rows}.txt", folder / f"cnsfails202101a-{rows}-{mark}.zip"
    plain.write_bytes(head + b"".join(body) * times + end)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = f"{rows} rows, {mark}".encode()
        archive.write(plain, "cnsfails202101a.txt")
    return plain, packed, count, shares


def by_spotlightd(files: list[tuple[Path, Path]]) -> tuple[list[float], list[int]]:
    return asyncio.run(_by_spotlightd(files))


async def _by_spotlightd(files: list[tuple[Path, Path]]) -> tuple[list[float], list[int]]:
    from spotlightd import log  # noqa: PLC0415
    from spotlightd.runtime.instance import open_instance  # noqa: PLC0415
    from spotlightd.settings.settings import Settings  # noqa: PLC0415

    log.configure("warning")
    with tempfile.TemporaryDirectory(dir=files[0][0].parent) as folder:
        async with open_instance(replace(Settings(), state_dir=Path(folder))) as instance:
            seconds = [
                await ingest_file(instance, packed, f"cnsfails2021{number + 1:02}a")
                for number, (_, packed) in enumerate(files)
            ]
            answer = await instance.warehouse.rows(
                "SELECT count(), sum(quantity) FROM sec_ftd WHERE load_id = {load_id:UInt64}", {"load_id": len(files)}
            )
    return seconds, [int(total) for total in answer.rows[0]]


@dataclass(frozen=True, slots=True)
class FilePublisher:
    """A publisher whose one document is a file, so that the daemon's memory does not include the document."""

    index: str
    file: Path

    async def page(self, url: str, *, post: str | None = None) -> str:
        del url, post
        return self.index

    @asynccontextmanager
    async def fetch(
        self, url: str, *, etag: str = "", last_modified: str = "", post: str | None = None, is_probe: bool = False
    ) -> AsyncIterator[PublisherResponse | None]:
        from spotlightd.ports.publisher import PublisherResponse  # noqa: PLC0415

        del etag, last_modified, post, is_probe
        yield PublisherResponse(url, "", "", "", "application/zip", self._chunks())

    async def _chunks(self) -> AsyncIterator[bytes]:
        with self.file.open("rb") as file:
            while piece := file.read(1 << 16):
                yield piece


async def ingest_file(instance: Instance, packed: Path, name: str = "cnsfails202101a") -> float:
    """Fetch, store, parse, load and publish the file, under that name, with the daemon's own flow. Returns the seconds."""
    from spotlightd.flows.batch.ingest import ingest  # noqa: PLC0415
    from spotlightd.sources.sec_ftd import source as ftd  # noqa: PLC0415

    bounds = replace(ftd.datasets[0].rhythm, rows=(1, 1 << 40))
    source = replace(ftd, least_links=1, max_bytes=1 << 40, datasets=(replace(ftd.datasets[0], rhythm=bounds),))
    path = f"/files/data/fails-deliver-data/{name}.zip"
    publisher = FilePublisher(f'<a href="{path}">x</a>', packed)
    began = time.perf_counter()
    (result,) = await ingest(source, publisher, instance.ingest_context())
    seconds = time.perf_counter() - began
    assert result.outcome == "published", result
    return seconds


RUNS: dict[str, _peers.Way] = {
    "engine": _peers.in_engine(_peers.by_engine),
    "spotlightd": by_spotlightd,
    "pandas": _peers.in_engine(_peers.by_pandas),
    "csv": _peers.in_engine(_peers.by_csv),
    "dlt": _peers.by_dlt,
}


def run_once(way: str, files: list[tuple[Path, Path]]) -> dict[str, Any]:
    """Run one way in a process of its own."""
    python = str(PEERS) if way == "dlt" else sys.executable
    paths = [str(path) for pair in files for path in pair]
    done = subprocess.run([python, __file__, "--one", way, *paths], stdout=subprocess.PIPE, check=True, cwd=ROOT)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def run_way(way: str, paths: list[str]) -> None:
    files = [(Path(plain), Path(packed)) for plain, packed in zip(paths[::2], paths[1::2], strict=True)]
    seconds, totals = RUNS[way](files)
    print(json.dumps({"seconds": seconds, "totals": totals, "peak_mb": round(read_high_water() / 1e6, 1)}))


def measure(rows: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Run all ways in turn, round after round. A way's figure in a round is the median of its timed loads."""
    warm = [make_document(folder, 1, mark)[:2] for mark in range(WARM)]
    times = TIMED if rows < 200_000 else 1
    timed = [make_document(folder, rows, WARM + mark) for mark in range(times)]
    results: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for number in range(rounds):
        for way in WAYS:
            print(f"  {rows} rows, round {number + 1}, {way}", file=sys.stderr, flush=True)
            result = run_once(way, [*warm, *(document[:2] for document in timed)])
            assert result["totals"] == list(timed[0][2:]), (way, result, timed[0][2:])
            results[way].append(result | {"seconds": statistics.median(result["seconds"][WARM:])})
    limit = [result["seconds"] for result in results["engine"]]
    return {
        "rows": timed[0][2],
        "ways": {way: _summarize(timed[0][2], limit, results) for way, results in results.items()},
    }


def _summarize(rows: int, limit: list[float], results: list[dict[str, Any]]) -> dict[str, Any]:
    ratios = [fastest / result["seconds"] for fastest, result in zip(limit, results, strict=True)]
    return {
        "rows_per_second": round(rows / statistics.median(result["seconds"] for result in results)),
        "of_the_limit": round(statistics.median(ratios), 3),
        "of_the_limit_least_and_most": [round(min(ratios), 3), round(max(ratios), 3)],
        "peak_mb": max(result["peak_mb"] for result in results),
    }


def install_peers() -> None:
    """Install dlt and its dependencies, apart from the packages of spotlightd."""
    if not PEERS.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS.parent.parent)], check=True)
        subprocess.run(
            [str(PEERS), "-m", "pip", "install", "--quiet", "dlt[duckdb]==1.31.0", "pandas", "pyarrow"],
            check=True,
            stdout=sys.stderr,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[48_215, 1_012_515])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        run_way(arguments.one[0], arguments.one[1:])
        return
    install_peers()
    folder = Path(tempfile.mkdtemp(prefix="spotlightd-ingest-"))
    try:
        print(json.dumps([measure(rows, arguments.rounds, folder) for rows in arguments.rows], indent=2))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
