"""The peers of drain.py, run by the Python of .cache/peers-streams, which has no package of spotlightd.

Each reads the filled topic, unpacks its frames and inserts the trades into the same table as spotlightd's drain, in the
same engine, through ClickHouse's own client. They write the fields of a trade and the pointer; the table's other
columns stay empty. They commit as they do by default or as their documentation shows. Only the size of a batch was tuned.
The clock of a peer starts with its first message (FastStream's with its start), the drain's before it looks for the topic.

loop        kafka-python, json, rows of Python objects, an insert every 1,000 rows, offsets committed automatically
quix        Quix Streams: a dataframe that expands the frame, a BatchingSink that inserts Arrow
faststream  FastStream: a batch subscriber with frames as dicts, inserted as Arrow
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import clickhouse_connect
import pyarrow as pa

PINNED = (
    "kafka-python==3.0.12", "quixstreams==3.28.1", "faststream[kafka]==0.7.8", "clickhouse-connect==1.12.0",
    "pyarrow==26.0.1", "zstandard==0.25.0", "cramjam==2.14.0",
)  # fmt: skip
LOOP_ROWS = 1_000
BATCH = 100_000
DICTS: Any = list[dict]  # type: ignore[type-arg]  # as in its documentation; the contents are not validated
NAMES = ("symbol", "time", "received", "price", "volume", "conditions", "type", "source", "offset", "frame_index")
MOMENT = pa.timestamp("us", "UTC")
SCHEMA = pa.schema([
    ("symbol", pa.string()), ("time", MOMENT), ("received", MOMENT), ("price", pa.float64()), ("volume", pa.float64()),
    ("conditions", pa.list_(pa.string())), ("type", pa.string()), ("source", pa.string()), ("offset", pa.uint64()),
    ("frame_index", pa.uint16()),
])  # fmt: skip


class Target:
    """The table, and the clock."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.rows = 0
        self.begun = 0.0
        self.client = clickhouse_connect.get_client(
            host=job["host"], port=job["port"], username=job["user"], password=job["password"],
            database=job["database"], autogenerate_session_id=False,
        )  # fmt: skip

    def start(self) -> None:
        self.begun = self.begun or time.perf_counter()

    @property
    def full(self) -> bool:
        return self.rows >= int(self.job["trades"])

    def put_rows(self, rows: Sequence[Sequence[Any]]) -> None:
        self.client.insert("trades", rows, column_names=NAMES)
        self.rows += len(rows)

    def put_trades(
        self, trades: Sequence[dict[str, Any]], received_ms: Sequence[int], offsets: Sequence[int], index: Sequence[int]
    ) -> None:
        """Insert them as one Arrow table."""
        source = self.job["source"]
        columns = [
            [trade["s"] for trade in trades], [trade["t"] * 1000 for trade in trades], [ms * 1000 for ms in received_ms],
            [trade["p"] for trade in trades], [trade["v"] for trade in trades], [trade.get("c") or [] for trade in trades],
            ["trade"] * len(trades), [source] * len(trades), offsets, index,
        ]  # fmt: skip
        arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
        self.client.insert_arrow("trades", pa.table(arrays, schema=SCHEMA))
        self.rows += len(trades)


def loop(target: Target) -> None:
    from kafka import KafkaConsumer  # type: ignore[import-not-found]  # noqa: PLC0415

    job, rows = target.job, list[tuple[Any, ...]]()
    consumer = KafkaConsumer(
        job["topic"], bootstrap_servers=job["servers"], group_id=job["group"], auto_offset_reset="earliest"
    )
    for message in consumer:
        target.start()
        received = datetime.fromtimestamp(message.timestamp / 1000, UTC)
        for index, trade in enumerate(json.loads(message.value)["data"]):
            moment = datetime.fromtimestamp(trade["t"] / 1000, UTC)
            rows.append((
                trade["s"], moment, received, trade["p"], trade["v"], trade.get("c") or [], "trade", job["source"],
                message.offset, index,
            ))  # fmt: skip
        if len(rows) >= LOOP_ROWS or target.rows + len(rows) >= job["trades"]:
            target.put_rows(rows)
            rows = []
            if target.full:
                return


def quix(target: Target) -> None:
    from quixstreams import Application  # type: ignore[import-not-found]  # noqa: PLC0415
    from quixstreams.sinks import BatchingSink  # type: ignore[import-not-found]  # noqa: PLC0415

    class Trades(BatchingSink):  # type: ignore[misc,unused-ignore]  # untyped where it is not installed
        def write(self, batch: Any) -> None:
            items = list(batch)
            trades = [item.value for item in items]
            target.put_trades(
                trades,
                [item.timestamp for item in items],
                [item.offset for item in items],
                [trade["i"] for trade in trades],
            )

    def expand(frame: dict[str, Any]) -> list[dict[str, Any]]:
        target.start()
        return [dict(trade, i=index) for index, trade in enumerate(frame["data"])]

    job = target.job
    os.chdir(tempfile.mkdtemp(dir=job["folder"]))  # it creates a state folder in the working directory
    app = Application(
        broker_address=job["servers"], consumer_group=job["group"], auto_offset_reset="earliest",
        commit_every=BATCH, commit_interval=30, loglevel="ERROR",
    )  # fmt: skip
    frames = app.dataframe(app.topic(job["topic"], value_deserializer="json", key_deserializer="bytes"))
    frames.apply(expand, expand=True).sink(Trades())
    app.run(count=int(job["trades"]))


def faststream(target: Target) -> None:
    asyncio.run(_faststream(target))


async def _faststream(target: Target) -> None:
    from faststream import FastStream  # type: ignore[import-not-found]  # noqa: PLC0415
    from faststream.kafka import KafkaBroker, KafkaMessage  # type: ignore[import-not-found]  # noqa: PLC0415

    job, broker = target.job, KafkaBroker(target.job["servers"], logger=None)
    app = FastStream(broker, logger=None)

    async def handle(frames: list[dict], message: KafkaMessage) -> None:  # type: ignore[type-arg,unused-ignore]
        trades = [frame["data"] for frame in frames]
        records = [(record.offset, record.timestamp) for record in message.raw_message]
        target.put_trades(
            [trade for group in trades for trade in group],
            [moment for (_, moment), group in zip(records, trades, strict=True) for _ in group],
            [offset for (offset, _), group in zip(records, trades, strict=True) for _ in group],
            [index for group in trades for index in range(len(group))],
        )
        if target.full:
            app.exit()

    handle.__annotations__.update({"frames": DICTS, "message": KafkaMessage, "return": None})
    broker.subscriber(
        job["topic"], batch=True, max_records=BATCH, group_id=job["group"], auto_offset_reset="earliest",
        max_partition_fetch_bytes=8 << 20,
    )(handle)  # fmt: skip

    app.on_startup(target.start)
    await app.run()


PEERS = {"loop": loop, "quix": quix, "faststream": faststream}


def main() -> None:
    """Run the peer that the argument names. Reads the job as JSON from standard input and prints the seconds as JSON."""
    output = os.dup(1)
    os.dup2(2, 1)  # libraries print to standard output
    target = Target(json.load(sys.stdin))
    PEERS[sys.argv[1]](target)
    seconds = time.perf_counter() - target.begun
    os.write(output, json.dumps({"seconds": seconds, "processor": time.process_time()}).encode())
    os._exit(0)  # some peers have threads that end late


if __name__ == "__main__":
    main()
