"""FTD zip to published rows with pointers, against the engine's own CSV reader and against three peers.

Ways, each in a process of its own, warmed by one small load that is not counted; rounds go through all ways in turn
and ratios are taken within a round, then their median:

engine   the limit: chDB reads the already inflated text with its own CSV reader into the same table, fsync on
ours     publisher → bucket → parser child → HTTP → table → published, fsync on, everything that the daemon does
pandas   inflate, read_csv, chDB table;  csv: the standard library's reader, the same;  dlt: pandas chunks → DuckDB

Every load is checked against the publisher's two trailers. `--rows 48215 1012515 --rounds 3`. The peers' packages are
installed into .cache/peers, apart from ours.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spotlightd.opening import House

ROOT = Path(__file__).resolve().parent.parent
REAL = ROOT / "spotlightd/demo/data/cnsfails202101a.zip"
PEERS = ROOT / ".cache/peers/bin/python"
WAYS = ("engine", "ours", "pandas", "csv", "dlt")
NAMES = ["settlement_date", "cusip", "symbol", "quantity", "description", "price"]
TABLE = """CREATE TABLE ftd (settlement_date Date, cusip FixedString(9), symbol LowCardinality(String), quantity UInt64,
    description String, price Nullable(Decimal(18, 4)), load_id UInt64 CODEC(Delta, ZSTD(1)), member UInt16 CODEC(ZSTD(1)),
    line UInt32 CODEC(T64, ZSTD(1))) ENGINE = MergeTree PARTITION BY toYear(settlement_date)
    ORDER BY (symbol, settlement_date, cusip)
    SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 1000"""
FIELDS = (
    "toDate(parseDateTimeBestEffort(settlement_date)), cusip, symbol, toUInt64(quantity), description,"
    " toDecimal64OrNull(price, 4), 1, 0"
)


def make(folder: Path, rows: int) -> tuple[Path, Path, int, int]:
    """Inflated text and zip of the real file's rows, repeated; how many rows and shares it has."""
    with zipfile.ZipFile(REAL) as archive:
        head, *body = archive.read(archive.namelist()[0]).splitlines(keepends=True)
    body = body[:-2]
    times = max(1, round(rows / len(body)))
    count, shares = len(body) * times, times * sum(int(line.split(b"|")[3]) for line in body)
    end = f"Trailer record count {count}\nTrailer total quantity of shares {shares}\n".encode()
    plain, packed = folder / f"ftd-{rows}.txt", folder / f"cnsfails202101a-{rows}.zip"
    plain.write_bytes(head + b"".join(body) * times + end)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = f"repeated for {rows} rows".encode()  # other bytes, or the second would be refused as a copy
        archive.write(plain, "cnsfails202101a.txt")
    return plain, packed, count, shares


# -- ways ----------------------------------------------------------------------------------------------------------


def in_engine(fill: Callable[[Any, Path, Path], None]) -> Callable[[list[tuple[Path, Path]]], tuple[float, list[int]]]:
    """A way that fills a chDB table in this process: warmed by the first file, timed with the last."""

    def way(files: list[tuple[Path, Path]]) -> tuple[float, list[int]]:
        from chdb import session as chdb_session  # noqa: PLC0415

        with tempfile.TemporaryDirectory(dir=files[0][0].parent) as folder:
            session: Any = chdb_session.Session(folder)  # type: ignore[no-untyped-call]  # chdb has no types
            session.query("CREATE DATABASE bench ENGINE = Atomic")
            session.query("USE bench")
            session.query("SET schema_inference_make_columns_nullable = 0, async_insert = 0")
            session.query(TABLE)
            seconds = 0.0
            for plain, packed in files:
                session.query("TRUNCATE TABLE ftd SYNC")
                began = time.perf_counter()
                fill(session, plain, packed)
                seconds = time.perf_counter() - began
            found = str(session.query("SELECT count(), sum(quantity) FROM ftd")).strip().split(",")
            session.close()
        return seconds, [int(one) for one in found]

    return way


def by_engine(session: Any, plain: Path, _: Path) -> None:
    columns = ", ".join(f"{name} String" for name in NAMES)
    session.query(
        f"INSERT INTO ftd SELECT {FIELDS}, rowNumberInAllBlocks() + 2 FROM file('{plain}', 'CSVWithNames', '{columns}')"
        " WHERE cusip != '' SETTINGS format_csv_delimiter = '|', format_csv_allow_double_quotes = 0,"
        " input_format_csv_allow_variable_number_of_columns = 1, input_format_with_names_use_header = 0, max_threads = 1"
    )


def _put(session: Any, table: Any) -> None:
    import pyarrow as pa  # noqa: PLC0415

    batch = table.append_column("line", pa.array(range(2, len(table) + 2), pa.uint32()))  # noqa: F841  read by chDB
    session.query(f"INSERT INTO ftd SELECT {FIELDS}, line FROM Python(batch)")


def _schema() -> Any:
    import pyarrow as pa  # noqa: PLC0415

    return pa.schema([(name, pa.uint64() if name == "quantity" else pa.string()) for name in NAMES])


def by_pandas(session: Any, _: Path, packed: Path) -> None:
    import pandas as pd  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    with zipfile.ZipFile(packed) as archive:
        data = io.BytesIO(archive.read(archive.namelist()[0]))
    frame = pd.read_csv(
        data, sep="|", names=NAMES, skiprows=1, dtype=str, quoting=3, encoding="latin-1", keep_default_na=False
    )
    frame = frame[frame.cusip != ""]
    frame["quantity"] = frame.quantity.astype("uint64")
    _put(session, pa.Table.from_pandas(frame, _schema(), preserve_index=False))


def by_csv(session: Any, _: Path, packed: Path) -> None:
    import pyarrow as pa  # noqa: PLC0415

    with zipfile.ZipFile(packed) as archive:
        text = io.StringIO(archive.read(archive.namelist()[0]).decode("latin-1"))
    rows = [row for row in csv.reader(text, delimiter="|", quoting=csv.QUOTE_NONE) if len(row) == len(NAMES)][1:]
    columns: list[list[Any]] = [list(column) for column in zip(*rows, strict=True)]
    columns[3] = [int(value) for value in columns[3]]
    _put(session, pa.table([pa.array(c, t) for c, t in zip(columns, _schema().types, strict=True)], NAMES))


def by_dlt(files: list[tuple[Path, Path]]) -> tuple[float, list[int]]:
    import dlt  # noqa: PLC0415
    import duckdb  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    seconds, found = 0.0, [0, 0]
    for number, (_, packed) in enumerate(files):

        def source(packed: Path = packed) -> Any:
            with zipfile.ZipFile(packed) as archive:
                text = io.StringIO(archive.read(archive.namelist()[0]).decode("latin-1"))
            for frame in pd.read_csv(
                text, sep="|", names=NAMES, skiprows=1, dtype=str, quoting=3, keep_default_na=False, chunksize=100_000
            ):
                kept = frame[frame.cusip != ""]
                yield kept.assign(quantity=kept.quantity.astype("int64"), line=kept.index + 2)

        with tempfile.TemporaryDirectory(dir=packed.parent) as folder:
            began = time.perf_counter()
            target = dlt.destinations.duckdb(f"{folder}/ftd.duckdb")
            pipeline = dlt.pipeline(f"ftd{number}", destination=target, dataset_name="d", pipelines_dir=folder)
            pipeline.run(dlt.resource(source, name="ftd", write_disposition="replace"), loader_file_format="parquet")
            seconds = time.perf_counter() - began
            with duckdb.connect(f"{folder}/ftd.duckdb") as db:
                found = [int(one) for one in db.execute("SELECT count(*), sum(quantity) FROM d.ftd").fetchone()]
    return seconds, found


def by_us(files: list[tuple[Path, Path]]) -> tuple[float, list[int]]:
    return asyncio.run(_by_us(files))


async def _by_us(files: list[tuple[Path, Path]]) -> tuple[float, list[int]]:
    from spotlightd import log  # noqa: PLC0415
    from spotlightd.model.settings import Settings  # noqa: PLC0415
    from spotlightd.opening import opened  # noqa: PLC0415

    log.configure("warning")
    with tempfile.TemporaryDirectory(dir=files[0][0].parent) as folder:
        async with opened(replace(Settings(), state_dir=Path(folder))) as house:
            for number, (_, packed) in enumerate(files):
                seconds = await filled(house, packed, month=number + 1)
            answer = await house.stores.warehouse.rows(
                "SELECT count(), sum(quantity) FROM sec_ftd WHERE load_id = {load_id:UInt64}", {"load_id": len(files)}
            )
    return seconds, [int(one) for one in answer.rows[0]]


async def filled(house: House, packed: Path, *, month: int = 1) -> float:
    """Have the daemon's own flow fetch, store, parse, load and publish that file; answers the seconds."""
    from spotlightd.flows.ingest import ingest  # noqa: PLC0415
    from spotlightd.testing import MemoryPublishers, Reply  # noqa: PLC0415

    found = house.catalog.sources[0]
    bounds = replace(found.datasets[0].rhythm, rows=(1, 1 << 40))
    source = replace(found, max_bytes=1 << 40, datasets=(replace(found.datasets[0], rhythm=bounds),))
    path = f"/files/data/fails-deliver-data/cnsfails2021{month:02}a.zip"
    page = Reply(f'<a href="{path}">x</a>'.encode(), "text/html")
    host = f"https://{source.hosts[0]}"
    body = await asyncio.to_thread(packed.read_bytes)
    publishers = MemoryPublishers({source.home: page, host + path: Reply(body, "application/zip")})
    began = time.perf_counter()
    (result,) = await ingest(source, publishers.of(source), house.stores)
    seconds = time.perf_counter() - began
    assert result.outcome == "published", result
    return seconds


RUNS: dict[str, Callable[[list[tuple[Path, Path]]], tuple[float, list[int]]]] = {
    "engine": in_engine(by_engine),
    "ours": by_us,
    "pandas": in_engine(by_pandas),
    "csv": in_engine(by_csv),
    "dlt": by_dlt,
}


class Peak(threading.Thread):
    """The most resident memory of this process, children left out, sampled every 5 ms."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.mb = 0.0
        self.start()

    def run(self) -> None:
        page = resource.getpagesize()
        while True:
            resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * page
            self.mb = max(self.mb, resident / 1e6)
            time.sleep(0.005)


def once(way: str, files: list[tuple[Path, Path]]) -> dict[str, Any]:
    """One way in a process of its own."""
    python = str(PEERS) if way == "dlt" else sys.executable
    named = [str(path) for pair in files for path in pair]
    done = subprocess.run([python, __file__, "--one", way, *named], stdout=subprocess.PIPE, check=True, cwd=ROOT)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def one(way: str, named: list[str]) -> None:
    files = [(Path(plain), Path(packed)) for plain, packed in zip(named[::2], named[1::2], strict=True)]
    peak = Peak()
    seconds, found = RUNS[way](files)
    print(json.dumps({"seconds": seconds, "found": found, "peak_mb": round(peak.mb, 1)}))


def measured(rows: int, rounds: int, folder: Path) -> dict[str, Any]:
    warm, timed = make(folder, 1), make(folder, rows)
    files = [warm[:2], timed[:2]]
    seen: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for number in range(rounds):
        for way in WAYS:
            print(f"  {rows} rows, round {number + 1}, {way}", file=sys.stderr, flush=True)
            result = once(way, files)
            assert result["found"] == [timed[2], timed[3]], (way, result, timed[2:])
            seen[way].append(result)
    limit = [one["seconds"] for one in seen["engine"]]
    return {
        "rows": timed[2],
        "ways": {
            way: {
                "rows_per_second": round(timed[2] / statistics.median(one["seconds"] for one in results)),
                "of_the_limit": round(
                    statistics.median(a / one["seconds"] for a, one in zip(limit, results, strict=True)), 3
                ),
                "of_the_limit_least_and_most": [
                    round(pick(a / one["seconds"] for a, one in zip(limit, results, strict=True)), 3)
                    for pick in (min, max)
                ],
                "peak_mb": max(one["peak_mb"] for one in results),
            }
            for way, results in seen.items()
        },
    }


def peers() -> None:
    """dlt and what it needs, apart from our own packages."""
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
    asked = parser.parse_args()
    if asked.one:
        one(asked.one[0], asked.one[1:])
        return
    peers()
    folder = Path(tempfile.mkdtemp(prefix="spotlightd-ingest-"))
    try:
        print(json.dumps([measured(rows, asked.rounds, folder) for rows in asked.rows], indent=2))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
