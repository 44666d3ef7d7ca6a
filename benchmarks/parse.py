"""The parser alone: zip to Arrow stream through the child's pipe, and its limits. `--rows 48215 1012515`.

zlib, isal     only inflating the zip, by either library
inline         zip to record batches in this process
child          zip to Arrow stream out of the child, as the daemon gets it; `child_cpu` and `daemon_cpu` are its cost
engine_csv     the engine's CSV reader on the inflated text into the same table, fsync on
engine_arrow   the engine reading the finished Arrow stream into the same table, fsync on

All in one process and in turn, `--rounds` times; seconds are the least of the rounds, since the machine may be shared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from _peers import by_engine
from ingest import make_document
from isal import isal_zlib

from spotlightd import Rows
from spotlightd.settings.sources import ParserSettings
from spotlightd.sources.sec_ftd import sec_ftd, source
from spotlightd.workers.inline import parse_inline
from spotlightd.workers.parser import ChildParser

NAME = "cnsfails202101a.zip"
PIECE = 1 << 17


def inflate(library: Any, packed: Path) -> int:
    with zipfile.ZipFile(packed) as archive, packed.open("rb") as file:
        info = archive.infolist()[0]
        file.seek(info.header_offset + 30 + len(info.filename))
        inflater, left, size = library.decompressobj(-15), info.compress_size, 0
        while left and (piece := file.read(min(PIECE, left))):
            size += len(inflater.decompress(piece))
            left -= len(piece)
    return size


def count_rows_inline(packed: Path) -> int:
    return sum(block.columns.num_rows for block in parse_inline(source, packed, NAME) if isinstance(block, Rows))


async def parse_in_child(parser: ChildParser, packed: Path, output: Path | None = None) -> int:
    """The number of rows. The stream is discarded, or written to a file."""
    with (output or Path("/dev/null")).open("wb") as out:
        async with parser.parse(source, packed, NAME, load_id=1) as parsing:
            async for piece in parsing.columns("sec_ftd"):
                out.write(piece)
            return (await parsing.result()).rows["sec_ftd"]


@contextmanager
def engine(folder: Path) -> Iterator[Any]:
    from chdb import session as chdb_session  # noqa: PLC0415

    from spotlightd.clients.clickhouse.ddl import create_table  # noqa: PLC0415

    session: Any = chdb_session.Session(str(folder / "engine"))  # type: ignore[no-untyped-call]  # chdb has no types
    for statement in ("CREATE DATABASE bench ENGINE = Atomic", "USE bench", create_table(sec_ftd, "bench", "ftd")):
        session.query(statement)
    yield session
    session.close()


def measure_seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def measure(folder: Path, rows: int, rounds: int) -> dict[str, Any]:
    plain, packed, count, shares = make_document(folder, rows)
    stream = folder / f"{rows}.arrow"
    seconds: dict[str, list[float]] = {}
    with asyncio.Runner() as runner, engine(folder / str(rows)) as session:
        parser = runner.run(ChildParser(ParserSettings()).__aenter__())
        for _ in range(2):
            assert runner.run(parse_in_child(parser, packed, stream)) == count
        assert parser._child is not None  # noqa: SLF001  (its cost is measured)
        child, daemon = psutil.Process(parser._child.process.pid), psutil.Process()  # noqa: SLF001

        def time_insert(fill: Callable[[], Any]) -> float:
            session.query("TRUNCATE TABLE ftd SYNC")
            elapsed = measure_seconds(fill)
            assert str(session.query("SELECT count(), sum(quantity) FROM ftd")).strip() == f"{count},{shares}"
            return elapsed

        ways: dict[str, Callable[[], float]] = {
            "zlib": lambda: measure_seconds(lambda: inflate(zlib, packed)),
            "isal": lambda: measure_seconds(lambda: inflate(isal_zlib, packed)),
            "inline": lambda: measure_seconds(lambda: count_rows_inline(packed)),
            "child": lambda: measure_seconds(lambda: runner.run(parse_in_child(parser, packed))),
            "engine_csv": lambda: time_insert(lambda: by_engine(session, plain, packed)),
            "engine_arrow": lambda: time_insert(
                lambda: session.query(f"INSERT INTO ftd FROM INFILE '{stream}' FORMAT ArrowStream")
            ),
        }
        spent = [0.0, 0.0]
        for _ in range(rounds):
            for name, way in ways.items():
                before = cpu(child), cpu(daemon)
                seconds.setdefault(name, []).append(way())
                if name == "child":
                    spent = [spent[0] + cpu(child) - before[0], spent[1] + cpu(daemon) - before[1]]
            print(json.dumps({name: round(values[-1], 4) for name, values in seconds.items()}), file=sys.stderr)
        runner.run(parser.__aexit__(None, None, None))
    least = {name: min(values) for name, values in seconds.items()}
    return {
        "rows": count,
        "text_bytes": plain.stat().st_size,
        "arrow_bytes": stream.stat().st_size,
        "seconds": {name: round(value, 4) for name, value in least.items()},
        "million_rows_per_second": {name: round(count / value / 1e6, 2) for name, value in least.items()},
        "child_to_engine_csv": round(least["engine_csv"] / least["child"], 2),
        "child_cpu_us_per_row": round(spent[0] / rounds / count * 1e6, 3),
        "daemon_cpu_us_per_row": round(spent[1] / rounds / count * 1e6, 3),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, nargs="+", default=[48_215, 1_012_515])
    options.add_argument("--rounds", type=int, default=5)
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="parse-") as folder:
        for rows in arguments.rows:
            (Path(folder) / str(rows)).mkdir()
        print(json.dumps([measure(Path(folder), rows, arguments.rounds) for rows in arguments.rows], indent=2))


if __name__ == "__main__":
    main()
