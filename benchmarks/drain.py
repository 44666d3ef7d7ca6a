"""From the bus into the table: spotlightd's drain, its stages alone, and four others on the same topic, engine and table.

Two topics, made of real frames (see _frames.py): `--frames 500000` of one trade, and a fifth as many of ten trades. Ways,
each in a process of its own on new stores, warmed by 2,000 frames of another topic; rounds go through all ways in
turn, ratios are taken within a round, then their median:

stages        only reading the topic (consume); frames into their table (frames); the source's SELECT over inserted
              frames (decode): one after the other, in batches of the drain's size
drain         the real flow with ledger, positions, parts and publications, from its start on a filled topic until it
              counts the last frame as drained: on Kafka, and on the embedded log
loop, quix, faststream   see _peers_streams.py; they run in .cache/peers-streams
kafka_engine  ClickHouse's own Kafka table with a materialised view, in plain chDB in a process of its own, because the
              sandbox of spotlightd's engine forbids connections; at least once, no receipts. CREATE reports an error
              but works. Timed from the creation of the view on; `reading` is from the first rows on

`…_processor_of_the_stages` is the processor time of the drain over that of the three stages together; what is beyond 1 is
what the ledger, the checks and the order of batches take. `of_the_slowest_stage` is the drain's speed over that of the slowest stage alone; `of_frames_then_decode` over frames and
decode in sequence, which is the limit where decoding is the slower part. Rows of every way are counted after it.
Processor seconds are those of the process that reads (a peer's with its imports) and of the engine, without Kafka's.
`--rounds 3`; `--quick` takes seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import _peers_streams
from _frames import ROOT, Shape
from _ground import Ground, Place, count_rows, drain_all, fill_topics, open_ground, print_progress, run_broker, warm_up
from _stages import time_stages
from _summary import summarize

PEERS = ROOT / ".cache/peers-streams/bin/python"
WAYS = ("stages", "drain", "drain_embedded", "loop", "quix", "faststream", "kafka_engine")
RUN_SECONDS = 900.0
ENGINE_SECONDS = 300.0
Way = Callable[[Place, Shape], Coroutine[Any, Any, dict[str, Any]]]


async def by_stages(place: Place, shape: Shape) -> dict[str, Any]:
    async with open_ground(place, "kafka", [shape.source]) as on:
        await warm_up(on)
        clock = await time_stages(on, shape)
        return {"seconds": clock.seconds, "processor": clock.processor, "rows": await count_rows(on, shape.source)}


def by_drain(bus: str) -> Way:
    async def way(place: Place, shape: Shape) -> dict[str, Any]:
        async with open_ground(place, bus, [shape.source]) as on:
            await warm_up(on)
            before = on.processor_seconds()
            seconds = await drain_all(on, shape.source, shape.frames)
            return {"seconds": seconds, "processor": _spent(before, on), "rows": await count_rows(on, shape.source)}

    return way


def _spent(before: dict[str, float], on: Ground) -> dict[str, float]:
    return {name: after - before[name] for name, after in on.processor_seconds().items()}


def by_peer(name: str) -> Way:
    async def way(place: Place, shape: Shape) -> dict[str, Any]:
        async with open_ground(place, "kafka", [shape.source]) as on:
            await warm_up(on)
            before = on.processor_seconds()
            result = await asyncio.to_thread(_run_peer, name, _job(on, place, shape))
            spent = _spent(before, on) | {"own": result["processor"]}
            return {"seconds": result["seconds"], "processor": spent, "rows": await count_rows(on, shape.source)}

    return way


def _job(on: Ground, place: Place, shape: Shape) -> dict[str, Any]:
    address = on.instance.warehouse_address
    return {
        "servers": place.servers, "topic": shape.source.name, "source": shape.source.name, "trades": shape.trades,
        "group": f"peer-{secrets.token_hex(4)}", "host": urlsplit(address.url).hostname, "port": urlsplit(address.url).port,
        "user": address.user, "password": address.password, "database": address.database, "folder": str(place.folder),
    }  # fmt: skip


def _run_peer(name: str, job: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [str(PEERS), "-W", "ignore", _peers_streams.__file__, name],
        input=json.dumps(job).encode(), stdout=subprocess.PIPE, check=True, timeout=RUN_SECONDS,
    )  # fmt: skip
    result: dict[str, Any] = json.loads(done.stdout)
    return result


RUNS: dict[str, Way] = {
    "stages": by_stages,
    "drain": by_drain("kafka"),
    "drain_embedded": by_drain("embedded"),
    "loop": by_peer("loop"),
    "quix": by_peer("quix"),
    "faststream": by_peer("faststream"),
}


def by_kafka_engine(place: Place, shape: Shape) -> dict[str, Any]:
    """ClickHouse's Kafka table in plain chDB, without asyncio and without spotlightd's engine."""
    from chdb import session as chdb_session  # noqa: PLC0415

    from spotlightd.clients.clickhouse import ddl  # noqa: PLC0415
    from spotlightd.datasets.trades import trades  # noqa: PLC0415

    folder = place.folder / f"plain-{time.monotonic_ns()}"
    session: Any = chdb_session.Session(str(folder))  # type: ignore[no-untyped-call]  # chdb has no types
    session.query("CREATE DATABASE bench ENGINE = Atomic")
    session.query(ddl.create_table(trades, "bench"))
    group = f"engine-{secrets.token_hex(4)}"
    try:
        session.query(
            f"CREATE TABLE bench.queue (frame String) ENGINE = Kafka SETTINGS kafka_broker_list = '{place.servers}',"
            f" kafka_topic_list = '{shape.source.name}', kafka_group_name = '{group}', kafka_format = 'RawBLOB',"
            " kafka_max_block_size = 100000, kafka_poll_max_batch_size = 100000, kafka_flush_interval_ms = 500"
        )
    except RuntimeError as error:
        print_progress(f"CREATE reported {str(error)[:80]!r}, but the table exists")
    began, first, before = time.perf_counter(), 0.0, time.process_time()
    session.query(VIEW.format(source=shape.source.name))
    while (count := _count(session, "count()")) < shape.trades and time.perf_counter() - began < ENGINE_SECONDS:
        first = first or (time.perf_counter() if count else 0.0)
        time.sleep(0.02)
    ended, spent = time.perf_counter(), {"engine": time.process_time() - before}
    rows = {"trades": count, "different_trades": _count(session, "uniqExact(offset, frame_index)")}
    session.query("DROP VIEW bench.feed SYNC")
    shutil.rmtree(folder, ignore_errors=True)  # not closed: closing with a Kafka table can take long
    return {"seconds": ended - began, "reading": ended - (first or began), "processor": spent, "rows": rows}


def _count(session: Any, aggregate: str) -> int:
    return int(session.query(f"SELECT {aggregate} FROM bench.trades", "TSV").data())


VIEW = """CREATE MATERIALIZED VIEW bench.feed TO bench.trades AS
SELECT trade.s AS symbol, fromUnixTimestamp64Milli(trade.t, 'UTC') AS time, received, now64(6, 'UTC') AS ingested,
    trade.p AS price, trade.v AS volume, trade.c AS conditions, 'trade' AS type, '{source}' AS source,
    offset, at - 1 AS frame_index
FROM (SELECT _offset AS offset, assumeNotNull(_timestamp_ms) AS received,
    JSONExtract(frame, 'Tuple(data Array(Tuple(p Float64, s String, t Int64, v Float64, c Array(String))))').data AS data
    FROM bench.queue)
ARRAY JOIN data AS trade, arrayEnumerate(data) AS at"""


def run_once(way: str, place: Place, shape: Shape) -> dict[str, Any]:
    """Run one way in a process of its own. Every row must be in the table exactly once."""
    job = {"place": {name: str(value) for name, value in asdict(place).items()}, "shape": asdict(shape)}
    done = subprocess.run(
        [sys.executable, __file__, "--one", way, json.dumps(job)],
        stdout=subprocess.PIPE, check=True, cwd=ROOT, timeout=RUN_SECONDS,
    )  # fmt: skip
    result: dict[str, Any] = json.loads(done.stdout)
    rows = result["rows"]
    assert rows["trades"] == rows["different_trades"] == shape.trades, (way, rows)
    if way.startswith(("stages", "drain")):
        assert rows["frames"] == rows["different_frames"] == shape.frames, (way, rows)
        assert not rows["open_intents"], (way, rows)
    return result


def run_way(way: str, job_json: str) -> None:
    job = json.loads(job_json)
    place, shape = Place(**job["place"] | {"folder": Path(job["place"]["folder"])}), Shape(**job["shape"])
    result = by_kafka_engine(place, shape) if way == "kafka_engine" else asyncio.run(RUNS[way](place, shape))
    print(json.dumps(result), flush=True)


def measure(place: Place, shape: Shape, ways: Sequence[str], rounds: int) -> dict[str, Any]:
    """Run all ways in turn, round after round."""
    results: list[dict[str, dict[str, Any]]] = []
    for number in range(rounds):
        results.append({})
        for way in ways:
            result = results[-1][way] = run_once(way, place, shape)
            seconds = result["seconds"]
            by_name = seconds if isinstance(seconds, dict) else {way: seconds}
            speeds = ", ".join(f"{name} {shape.trades / spent:,.0f}/s" for name, spent in by_name.items())
            print_progress(f"{shape.frames} frames of {shape.per}, round {number + 1}: {speeds}")
    return {"frames": shape.frames, "trades": shape.trades, **summarize(shape, results)}


def install_peers() -> None:
    """Install the peers and their dependencies apart from spotlightd's: Quix Streams pins an older confluent-kafka."""
    marker = PEERS.parent.parent / "installed"
    wanted = "\n".join(_peers_streams.PINNED)
    if marker.exists() and marker.read_text(encoding="utf-8") == wanted:
        return
    if not PEERS.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS.parent.parent)], check=True)
    pip = [str(PEERS), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *_peers_streams.PINNED], check=True, stdout=sys.stderr)
    marker.write_text(wanted, encoding="utf-8")


async def measure_all(folder: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    frames = {1: arguments.frames, 10: max(arguments.frames // 5, 1)}
    shapes = [Shape(frames[per], per) for per in arguments.trades_in_a_frame]
    async with run_broker(folder / "kafka") as servers:
        place = Place(folder, servers, str(folder / "filled.sqlite"))
        print_progress("filling the topics")
        await fill_topics(place, shapes)
        return [await asyncio.to_thread(measure, place, shape, arguments.ways, arguments.rounds) for shape in shapes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trades-in-a-frame", type=int, nargs="+", choices=(1, 10), default=(1, 10))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--quick", action="store_true", help="20,000 frames, one round")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        run_way(*arguments.one)
        return
    if arguments.quick:
        arguments.frames, arguments.rounds = 20_000, 1
    install_peers()
    folder = Path(tempfile.mkdtemp(prefix="spotlightd-drain-"))
    try:
        print(json.dumps(asyncio.run(measure_all(folder, arguments)), indent=2))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
