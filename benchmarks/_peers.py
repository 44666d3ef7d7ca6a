"""The limit and the peers of ingest.py and backfill.py: the engine's own CSV reader, pandas, the csv module, DuckDB, dlt.

Each is a function of files (text, zip). It returns the seconds of each file by a clock, and the counts of its table after
the last.
"""

from __future__ import annotations

import csv
import io
import os
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Clock = Callable[[], float]
Way = Callable[[list[tuple[Path, Path]]], tuple[list[float], list[int]]]
NAMES = ["settlement_date", "cusip", "symbol", "quantity", "description", "price"]
COLUMNS = f"{', '.join(NAMES)}, load_id, member, line"
DUCKDB_TABLE = """CREATE TABLE ftd (settlement_date DATE, cusip VARCHAR, symbol VARCHAR, quantity UBIGINT,
    description VARCHAR, price DECIMAL(18, 4), line UINTEGER)"""
DUCKDB_INSERT = """INSERT INTO ftd SELECT strptime(column0, '%Y%m%d'), column1, column2, column3::UBIGINT, column4,
    try_cast(column5 AS DECIMAL(18, 4)), row_number() OVER () + 1 FROM read_csv(?, delim = '|', header = false, skip = 1,
    quote = '', escape = '', all_varchar = true, null_padding = true, encoding = 'latin-1', parallel = false,
    auto_detect = false, columns = {'column0': 'VARCHAR', 'column1': 'VARCHAR', 'column2': 'VARCHAR', 'column3': 'VARCHAR',
    'column4': 'VARCHAR', 'column5': 'VARCHAR'}) WHERE column1 IS NOT NULL"""
FIELDS = (
    "toDate(parseDateTimeBestEffort(settlement_date)), cusip, symbol, toUInt64(quantity), description,"
    " toDecimal64OrNull(price, 4), 1, 0"
)


def in_engine(fill: Callable[[Any, Path, Path], None], clock: Clock = time.perf_counter) -> Way:
    """A way that fills a chDB table in this process: warmed by the first file, timed with the last."""

    def way(files: list[tuple[Path, Path]]) -> tuple[list[float], list[int]]:
        from chdb import session as chdb_session  # noqa: PLC0415

        from spotlightd.clients.clickhouse.ddl import create_table  # noqa: PLC0415
        from spotlightd.sources.sec_ftd import sec_ftd  # noqa: PLC0415

        with tempfile.TemporaryDirectory(dir=files[0][0].parent) as folder:
            session: Any = chdb_session.Session(folder)  # type: ignore[no-untyped-call]  # chdb has no types
            session.query("CREATE DATABASE bench ENGINE = Atomic")
            session.query("USE bench")
            session.query("SET schema_inference_make_columns_nullable = 0, async_insert = 0")
            session.query(create_table(sec_ftd, "bench", "ftd"))
            seconds = []
            for plain, packed in files:
                session.query("TRUNCATE TABLE ftd SYNC")
                began = clock()
                fill(session, plain, packed)
                seconds.append(clock() - began)
            totals = str(session.query("SELECT count(), sum(quantity) FROM ftd")).strip().split(",")
            session.close()
        return seconds, [int(total) for total in totals]

    return way


def by_engine(session: Any, plain: Path, _: Path) -> None:
    columns = ", ".join(f"{name} String" for name in NAMES)
    session.query(
        f"INSERT INTO ftd ({COLUMNS}) SELECT {FIELDS}, rowNumberInAllBlocks() + 2 FROM file('{plain}', 'CSVWithNames', '{columns}')"
        " WHERE cusip != '' SETTINGS format_csv_delimiter = '|', format_csv_allow_double_quotes = 0,"
        " input_format_csv_allow_variable_number_of_columns = 1, input_format_with_names_use_header = 0, max_threads = 1"
    )


def _put(session: Any, table: Any) -> None:
    import pyarrow as pa  # noqa: PLC0415

    batch = table.append_column("line", pa.array(range(2, len(table) + 2), pa.uint32()))  # noqa: F841  read by chDB
    session.query(f"INSERT INTO ftd ({COLUMNS}) SELECT {FIELDS}, line FROM Python(batch)")


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


def by_duckdb(files: list[tuple[Path, Path]], clock: Clock = time.perf_counter) -> tuple[list[float], list[int]]:
    """From the inflated text into a file of its own, one thread, as the engine reads it."""
    import duckdb  # noqa: PLC0415

    seconds, totals = list[float](), [0, 0]
    for plain, _ in files:
        with tempfile.TemporaryDirectory(dir=plain.parent) as folder, duckdb.connect(f"{folder}/ftd.duckdb") as db:
            db.execute("SET threads = 1")
            db.execute(DUCKDB_TABLE)
            began = clock()
            db.execute(DUCKDB_INSERT, [str(plain)])
            db.execute("CHECKPOINT")
            seconds.append(clock() - began)
            totals = [int(total) for total in db.execute("SELECT count(*), sum(quantity) FROM ftd").fetchall()[0]]
    return seconds, totals


def by_dlt(files: list[tuple[Path, Path]], clock: Clock = time.perf_counter) -> tuple[list[float], list[int]]:
    import dlt  # noqa: PLC0415
    import duckdb  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    seconds, totals = list[float](), [0, 0]
    for number, (_, packed) in enumerate(files):

        def source(packed: Path = packed) -> Any:
            with zipfile.ZipFile(packed) as archive:
                text = io.StringIO(archive.read(archive.namelist()[0]).decode("latin-1"))
            for frame in pd.read_csv(
                text, sep="|", names=NAMES, skiprows=1, dtype=str, quoting=3, keep_default_na=False, chunksize=100_000
            ):
                trades = frame[frame.cusip != ""]
                yield trades.assign(quantity=trades.quantity.astype("int64"), line=trades.index + 2)

        with tempfile.TemporaryDirectory(dir=packed.parent) as folder:
            began = clock()
            target = dlt.destinations.duckdb(f"{folder}/ftd.duckdb")
            pipeline = dlt.pipeline(f"ftd{number}", destination=target, dataset_name="d", pipelines_dir=folder)
            pipeline.run(dlt.resource(source, name="ftd", write_disposition="replace"), loader_file_format="parquet")
            seconds.append(clock() - began)
            with duckdb.connect(f"{folder}/ftd.duckdb") as db:
                totals = [int(total) for total in db.execute("SELECT count(*), sum(quantity) FROM d.ftd").fetchall()[0]]
    return seconds, totals
