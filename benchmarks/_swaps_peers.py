"""The limit and the peers of swaps.py: the engine's own CSV reader, pandas, DuckDB and dlt, each filling a table of the columns
of `swaps` from a day of DTCC's files of layout V4.

Each is a function of files (text, zip). It returns the seconds of each file by a clock, and the number of rows and the sum of
the first notionals in its table after the last. The peers compute no flags and no receipts but the line.
"""

from __future__ import annotations

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
CONSTANTS = {"publisher": "'DTCC'", "regime": "'CFTC'", "schema_version": "'V4'", "report_date": "toDate('2026-07-16')"}
YES = "('TRUE', 'true', 'True')"


def by_engine(files: list[tuple[Path, Path]]) -> tuple[list[float], list[int]]:
    """The limit: the engine reads the inflated text."""

    def fill(session: Any, plain: Path, _: Path) -> None:
        from spotlightd.sources.dtcc.headers import V4  # noqa: PLC0415

        structure = ", ".join(f"`{name}` String" for name in V4).replace("'", "\\'")
        session.query(
            f"INSERT INTO swaps ({name_columns()}) SELECT {make_select()}, 1, 0, rowNumberInAllBlocks() + 2"
            f" FROM file('{plain}', 'CSVWithNames', '{structure}') SETTINGS max_threads = 1"
        )

    return _fill_engine(files, fill)


def by_pandas(files: list[tuple[Path, Path]]) -> tuple[list[float], list[int]]:
    """Inflate, `read_csv`, and the engine's conversions into the same table."""

    def fill(session: Any, _: Path, packed: Path) -> None:
        import pandas as pd  # noqa: PLC0415
        import pyarrow as pa  # noqa: PLC0415

        with zipfile.ZipFile(packed) as archive:
            data = io.BytesIO(archive.read(archive.namelist()[0]))
        frame = pd.read_csv(data, dtype=str, keep_default_na=False)
        batch = pa.Table.from_pandas(frame, preserve_index=False)  # noqa: F841  read by chDB
        session.query(
            f"INSERT INTO swaps ({name_columns()}) SELECT {make_select()}, 1, 0, rowNumberInAllBlocks() + 2 FROM Python(batch)"
            " SETTINGS max_threads = 1"
        )

    return _fill_engine(files, fill)


def _fill_engine(
    files: list[tuple[Path, Path]], fill: Callable[[Any, Path, Path], None]
) -> tuple[list[float], list[int]]:
    from chdb import session as chdb_session  # noqa: PLC0415

    from spotlightd import swaps  # noqa: PLC0415
    from spotlightd.clients.clickhouse.ddl import create_table  # noqa: PLC0415

    with tempfile.TemporaryDirectory(dir=files[0][0].parent) as folder:
        session: Any = chdb_session.Session(folder)  # type: ignore[no-untyped-call]  # chdb has no types
        session.query("CREATE DATABASE bench ENGINE = Atomic")
        session.query("USE bench")
        session.query("SET schema_inference_make_columns_nullable = 0, async_insert = 0")
        session.query(create_table(swaps, "bench", "swaps"))
        seconds = []
        for plain, packed in files:
            session.query("TRUNCATE TABLE swaps SYNC")
            began = time.process_time()
            fill(session, plain, packed)
            seconds.append(time.process_time() - began)
        totals = str(session.query("SELECT count(), toInt64(sum(notional_1)) FROM swaps")).strip().split(",")
        session.close()
    return seconds, [int(total) for total in totals]


def name_columns() -> str:
    from spotlightd import swaps  # noqa: PLC0415

    return ", ".join(column.name for column in swaps.stored)


def make_select() -> str:
    """The columns of `swaps` from the texts of V4, in the engine's SQL."""
    from spotlightd import swaps  # noqa: PLC0415
    from spotlightd.sources.dtcc.headers import V4  # noqa: PLC0415
    from spotlightd.sources.dtcc.layouts import V4 as LAYOUT  # noqa: PLC0415

    taken = {name for names in LAYOUT.take.values() for name in names}
    others = ", ".join(f"'{name}', `{name}`" for name in V4 if name not in taken)
    items = []
    for column in swaps.columns:
        names = LAYOUT.take.get(column.name.removesuffix("_capped"), ())
        text = (
            f"if(`{names[0]}` != '', `{names[0]}`, `{names[1]}`)"
            if len(names) > 1
            else f"`{names[0]}`"
            if names
            else ""
        )
        if column.name in LAYOUT.words:
            words = LAYOUT.words[column.name]
            items.append(f"transform({text}, {list(words)}, {list(words.values())}, '')")
        elif column.name == "other":
            items.append(f"mapFilter((k, v) -> v != '', map({others}))::Map(LowCardinality(String), String)")
        elif column.name in CONSTANTS:
            items.append(CONSTANTS[column.name])
        elif not text:
            items.append(f"defaultValueOfTypeName('{column.type}')".replace("'UTC'", "\\'UTC\\'"))
        else:
            items.append(_convert(text, column.type, is_capped=column.name.endswith("_capped")))
    return ", ".join(items)


def _convert(text: str, type_name: str, *, is_capped: bool) -> str:  # noqa: PLR0911  (one for each kind)
    if is_capped:
        return f"endsWith({text}, '+')"
    number = "replaceAll(trimRight(replaceAll({}, '+', ' ')), ',', '')"
    scale = type_name.rpartition(", ")[2].rstrip(")")
    if type_name.startswith("Array(Decimal"):
        item = number.format("x")
        return f"if({text} = '', [], arrayMap(x -> toDecimal128({item}, {scale}), splitByChar(';', {text})))"
    if type_name.startswith("Array("):
        return f"if({text} = '', [], splitByChar(';', {text}))"
    if "Decimal" in type_name:
        return f"toDecimal128OrNull({number.format(text)}, {scale})"
    if "Bool" in type_name:
        return f"if({text} = '', NULL, {text} IN {YES})"
    if "DateTime64" in type_name:
        return f"parseDateTime64BestEffortOrNull({text}, 6, 'UTC')"
    return f"toDateOrNull({text})" if "Date" in type_name else text


def by_duckdb(files: list[tuple[Path, Path]]) -> tuple[list[float], list[int]]:
    """From the inflated text into a file of its own, one thread, as the engine reads it; all fields that have a column
    converted, and all others in a map.
    """
    import duckdb  # noqa: PLC0415

    seconds, totals = list[float](), [0, 0]
    for plain, _ in files:
        with tempfile.TemporaryDirectory(dir=plain.parent) as folder, duckdb.connect(f"{folder}/s.duckdb") as db:
            db.execute("SET threads = 1")
            began = time.process_time()
            db.execute(
                f"CREATE TABLE swaps AS SELECT {os.environ['SWAPS_DUCKDB']}, row_number() OVER () + 1 AS line"
                " FROM read_csv(?, all_varchar = true, header = true, parallel = false, nullstr = '\\N')",
                [str(plain)],
            )
            db.execute("CHECKPOINT")
            seconds.append(time.process_time() - began)
            found = db.execute("SELECT count(*), sum(notional_1)::BIGINT FROM swaps").fetchall()[0]
            totals = [int(total) for total in found]
    return seconds, totals


def make_duckdb_select() -> str:
    """The same columns in DuckDB's SQL."""
    from spotlightd import swaps  # noqa: PLC0415
    from spotlightd.sources.dtcc.headers import V4  # noqa: PLC0415
    from spotlightd.sources.dtcc.layouts import V4 as LAYOUT  # noqa: PLC0415

    taken = {name for names in LAYOUT.take.values() for name in names}
    pairs = ", ".join(f"{{k: '{name}', v: \"{name}\"}}" for name in V4 if name not in taken)
    items = [f"map_from_entries(list_filter([{pairs}], lambda e: e.v != '')) AS other"]
    for column in swaps.columns:
        names = LAYOUT.take.get(column.name.removesuffix("_capped"), ())
        if not names:
            continue
        text = f'coalesce(nullif("{names[0]}", \'\'), "{names[-1]}")' if len(names) > 1 else f'"{names[0]}"'
        number = f"replace(rtrim({text}, '+'), ',', '')"
        kind = column.type
        if column.name.endswith("_capped"):
            item = f"ends_with({text}, '+')"
        elif kind.startswith("Array("):
            item = f"string_split({text}, ';')"
        elif "Decimal" in kind:
            item = f"try_cast({number} AS DECIMAL(38, {kind.rpartition(', ')[2].rstrip(')')}))"
        elif "Bool" in kind or "Date" in kind:
            item = f"try_cast({text} AS {'BOOLEAN' if 'Bool' in kind else 'TIMESTAMP' if 'Time' in kind else 'DATE'})"
        else:
            item = text
        items.append(f'{item} AS "{column.name}"')
    return ", ".join(items)


def by_dlt(files: list[tuple[Path, Path]]) -> tuple[list[float], list[int]]:
    """pandas chunks to DuckDB. All fields stay texts, so it does less than the others."""
    import dlt  # noqa: PLC0415
    import duckdb  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    seconds, totals = list[float](), [0, 0]
    for number, (_, packed) in enumerate(files):

        def source(packed: Path = packed) -> Any:
            with zipfile.ZipFile(packed) as archive:
                text = io.StringIO(archive.read(archive.namelist()[0]).decode())
            for frame in pd.read_csv(text, dtype=str, keep_default_na=False, chunksize=50_000):
                yield frame.assign(line=frame.index + 2)

        with tempfile.TemporaryDirectory(dir=packed.parent) as folder:
            began = time.process_time()
            target = dlt.destinations.duckdb(f"{folder}/s.duckdb")
            pipeline = dlt.pipeline(f"swaps{number}", destination=target, dataset_name="d", pipelines_dir=folder)
            pipeline.run(dlt.resource(source, name="swaps", write_disposition="replace"), loader_file_format="parquet")
            seconds.append(time.process_time() - began)
            with duckdb.connect(f"{folder}/s.duckdb") as db:
                amount = "sum(replace(rtrim(notional_amount_leg_1, '+'), ',', '')::DECIMAL(38, 5))::BIGINT"
                totals = [int(total) for total in db.execute(f"SELECT count(*), {amount} FROM d.swaps").fetchall()[0]]
    return seconds, totals
