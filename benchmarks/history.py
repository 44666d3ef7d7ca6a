"""What one more document costs when its source has 100 published loads, and when it has 20,000.

Two state folders get a history through SQL: as many loads, documents, addresses and runs in the ledger, publications in
`loads`, and rows in the table, each load on a day of its own. Then both take the same documents in turn, round after round:
`alone`, in a look for each document, and `together`, ten times as many in one look. The time is the processor time of all
processes: the daemon's, the engine's, the parser's. `ratio` is the median over the rounds of the cost with the long history
by the cost with the short one. A document alone also has its share of the engine's merges, which grow with the table.

    .venv/bin/python benchmarks/history.py --loads 100 20000 --documents 25 --rounds 4
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
from small import HOST, make_lists, source_of

from spotlightd import log
from spotlightd.flows.batch.ingest import ingest
from spotlightd.runtime.instance import Instance, open_instance
from spotlightd.settings.settings import Settings

ROWS = 50
WARM = 5
NUMBERS = "CROSS JOIN (SELECT number FROM numbers(1, {loads:UInt64})) AS histories"
FILL_TABLE = f"""
INSERT INTO sec_ftd SELECT first.* REPLACE (toDate('1975-01-01') + number AS settlement_date, number + 1 AS load_id)
FROM (SELECT * FROM sec_ftd WHERE load_id = 1) AS first {NUMBERS}
"""
FILL_LOADS = f"""
INSERT INTO loads SELECT first.* REPLACE (number + 1 AS seq, number + 1 AS load_id, concat('history/', toString(number)) AS covers,
    leftPad(hex(number), 64, '0') AS document, published_at + toIntervalMicrosecond(number) AS published_at)
FROM (SELECT * FROM loads WHERE load_id = 1) AS first {NUMBERS}
"""


@dataclass(slots=True)
class Place:
    """A state folder with a history, and what its documents cost in each round, in milliseconds by process."""

    loads: int
    instance: Instance
    next_day: int
    alone: list[dict[str, float]] = field(default_factory=list)
    together: list[dict[str, float]] = field(default_factory=list)

    async def ingest(self, documents: int, *, looks: int) -> dict[str, float]:
        """The cost of a document, by process, when the documents come in so many looks."""
        before, size = _processor_seconds(self.instance), documents // looks
        for first in range(self.next_day, self.next_day + documents, size):
            await _ingest_days(self.instance, first, size)
        after = _processor_seconds(self.instance)
        self.next_day += documents
        return {name: 1000 * (after[name] - before[name]) / documents for name in after}


async def make_history(folder: Path, loads: int) -> None:
    """Publish one document, and give its copies out as those of all the other days."""
    async with open_instance(_settings(folder)) as instance:
        await _ingest_days(instance, 0, 1)
        columns = ", ".join(column for column in _LOAD_COLUMNS)
        await instance.ledger.run_transaction(
            [
                statement
                for number in range(1, loads)
                for statement in _make_records(number, columns, f"{HOST}{number}.zip", f"{number:064X}")
            ]
        )
        for sql, table in ((FILL_TABLE, "sec_ftd"), (FILL_LOADS, "loads")):
            await instance.warehouse.execute(sql, {"loads": loads - 1})
            await instance.warehouse.execute(f"OPTIMIZE TABLE {table} FINAL")


_LOAD_COLUMNS = ("load_id", "source", "digest", "parser", "covers", "state", "datasets", "rows", "seq", "published_at")


def _make_records(number: int, columns: str, url: str, digest: str) -> list[tuple[str, tuple[Any, ...]]]:
    """The ledger's records of one load, copied from those of the first."""
    load = f"INSERT INTO loads ({columns}) SELECT ?, source, ?, parser, ?, state, datasets, rows, ?, published_at + ?"
    known = "INSERT INTO known SELECT source, ?, ?, ?, etag, last_modified, first_seen, checked_at, outcome, parser, 0, NULL"
    document = (
        "INSERT INTO documents SELECT NULL, ?, size, source, ?, via, ?, fetched_at, etag, last_modified, media_type"
    )
    run = "INSERT INTO runs SELECT NULL, at, source, ?, ?, outcome, ?, rows, rejects, bytes, seconds, error"
    covers = f"history/{number}"
    return [
        (f"{load} FROM loads WHERE load_id = 1", (number + 1, digest, covers, number + 1, number)),
        (f"{known} FROM known WHERE digest = (SELECT digest FROM documents WHERE id = 1)", (url, covers, digest)),
        (f"{document} FROM documents WHERE id = 1", (digest, url, covers)),
        (f"{run} FROM runs WHERE id = 2", (url, covers, digest)),
    ]


def _settings(folder: Path) -> Settings:
    return replace(Settings(), state_dir=folder)


async def _ingest_days(instance: Instance, first: int, count: int) -> None:
    """Ingest a list of each of these days in one look."""
    lists = make_lists(first, count, ROWS)
    results = await ingest(source_of(lists), lists, instance.ingest_context())
    assert [result.outcome for result in results] == ["published"] * count, results[:3]


def _processor_seconds(instance: Instance) -> dict[str, float]:
    own = psutil.Process()
    engines = {process.pid for process in own.children() if "spotlightd.engine" in " ".join(process.cmdline())}
    engine = instance.engine.pid if instance.engine else own.pid
    others = [child for child in own.children(recursive=True) if child.pid not in engines]
    spent = {
        "own": own.cpu_times()[:2],
        "ended": own.cpu_times()[2:4],
        "engine": psutil.Process(engine).cpu_times()[:2],
        "parser": [sum(child.cpu_times()[:2]) for child in others],
    }
    return {name: sum(seconds) for name, seconds in spent.items()}


async def measure(histories: list[int], documents: int, rounds: int, folder: Path) -> dict[str, Any]:
    for loads in histories:
        print(f"   {loads:,} loads", file=sys.stderr, flush=True)
        await make_history(folder / str(loads), loads)
    async with AsyncExitStack() as stack:
        places = [
            Place(loads, await stack.enter_async_context(open_instance(_settings(folder / str(loads)))), max(histories))
            for loads in histories
        ]
        for place in places:
            await place.ingest(WARM, looks=WARM)
        for number in range(rounds):
            print(f"   round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            for place in places if number % 2 == 0 else reversed(places):
                place.alone.append(await place.ingest(documents, looks=documents))
                place.together.append(await place.ingest(10 * documents, looks=1))
    return {
        "alone": {"documents_a_round": documents, **_compare({place.loads: place.alone for place in places})},
        "together": {
            "documents_a_round": 10 * documents,
            **_compare({place.loads: place.together for place in places}),
        },
    }


def _compare(costs: dict[int, list[dict[str, float]]]) -> dict[str, Any]:
    short, long = ([sum(cost.values()) for cost in rounds] for rounds in costs.values())
    ratios = [after / before for before, after in zip(short, long, strict=True)]
    return {
        "processor_ms_a_document": {loads: _summarize(rounds) for loads, rounds in costs.items()},
        "ratio": round(statistics.median(ratios), 3),
        "ratio_least_and_most": [round(min(ratios), 3), round(max(ratios), 3)],
    }


def _summarize(rounds: list[dict[str, float]]) -> dict[str, float]:
    medians = {name: round(statistics.median(cost[name] for cost in rounds), 2) for name in rounds[0]}
    return {"all": round(statistics.median(sum(cost.values()) for cost in rounds), 2), **medians}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loads", type=int, nargs=2, default=[100, 20_000])
    parser.add_argument("--documents", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    log.configure("warning")
    folder = Path(tempfile.mkdtemp(prefix="spotlightd-history-"))
    try:
        result = measure(arguments.loads, arguments.documents, arguments.rounds, folder)
        print(json.dumps(asyncio.run(result), indent=2))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
