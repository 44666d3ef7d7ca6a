"""Cost per row from 10^5 to 10^7 rows, the daemon's memory, and the disk space of receipts.

The real file's rows, repeated, as one document of each size: zip → published, as in ingest.py. `flat` is the highest
cost per row over the lowest. Bytes a row are the engine's own count of compressed bytes per column, on the rows of
three half-months of the demo, which are real; in the order of the dataset, the same with the engine's own codec (LZ4)
for all columns, and in the publisher's order (by day).
In the publisher's order the pointer takes almost no space, but the other columns do. `--rows 100000 1000000 10000000`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from ingest import WARM, ingest_file, make_document, run_once

from spotlightd import log
from spotlightd.runtime.instance import open_instance
from spotlightd.settings.settings import Settings
from spotlightd.sources.sec_ftd import sec_ftd

DEMO = Path(__file__).resolve().parent.parent / "spotlightd/demo/data"
REAL = ("cnsfails202101a", "cnsfails202101b", "cnsfails202102b")
BY_SYMBOL = "symbol, settlement_date, cusip"
TABLES = {
    "of_the_dataset": (BY_SYMBOL, ""),
    "with_the_engines_codec": (BY_SYMBOL, "Default"),
    "of_the_publisher": ("settlement_date, cusip", ""),
}
"""By name: the order of the rows, and the codec of all columns, empty for those of the dataset."""
RECEIPT = ("load_id", "member", "line")
SIZES = "SELECT name, data_compressed_bytes FROM system.columns WHERE database = currentDatabase() AND table = 'sized'"


def flat(rows: list[int], folder: Path) -> dict[str, Any]:
    warm, costs = [make_document(folder, 1, mark)[:2] for mark in range(WARM)], []
    for count in rows:
        timed = make_document(folder, count, WARM)
        result = run_once("spotlightd", [*warm, timed[:2]])
        assert result["totals"] == [timed[2], timed[3]], result
        costs.append(
            {"rows": timed[2], "ns_a_row": round(result["seconds"][-1] / timed[2] * 1e9), "peak_mb": result["peak_mb"]}
        )
        timed[0].unlink()
        timed[1].unlink()
    by_row = [document["ns_a_row"] for document in costs]
    return {"documents": costs, "flat": round(max(by_row) / min(by_row), 3)}


async def receipts(folder: Path) -> dict[str, Any]:
    """Bytes a row of each column, and of the receipt together, in each of the tables."""
    results = {}
    async with open_instance(replace(Settings(), state_dir=folder / "size")) as instance:
        warehouse = instance.warehouse
        for name in REAL:
            await ingest_file(instance, DEMO / f"{name}.zip", name)
        for name, (order, codec) in TABLES.items():
            await warehouse.execute(
                f"CREATE TABLE sized AS sec_ftd ENGINE = MergeTree ORDER BY ({order})"
                " SETTINGS min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0"
            )
            if codec:
                changes = (f"MODIFY COLUMN {column.name} CODEC({codec})" for column in sec_ftd.stored)
                await warehouse.execute(f"ALTER TABLE sized {', '.join(changes)}")
            await warehouse.execute("INSERT INTO sized SELECT * FROM sec_ftd")
            await warehouse.execute("OPTIMIZE TABLE sized FINAL")
            count = int((await warehouse.rows("SELECT count() FROM sized")).rows[0][0])
            sizes = {column: round(size / count, 3) for column, size in (await warehouse.rows(SIZES)).rows}
            totals = {"receipt": sum(sizes[column] for column in RECEIPT), "all": sum(sizes.values())}
            results[name] = {
                "rows": count,
                "bytes_a_row": sizes,
                **{key: round(value, 2) for key, value in totals.items()},
            }
            await warehouse.execute("DROP TABLE sized SYNC")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    arguments = parser.parse_args()
    log.configure("warning")
    folder = Path(tempfile.mkdtemp(prefix="spotlightd-flat-"))
    try:
        print(json.dumps({"cost": flat(arguments.rows, folder), "receipts": asyncio.run(receipts(folder))}, indent=2))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
