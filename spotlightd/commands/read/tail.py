"""`tail`: prints the messages of a topic as they arrive."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from spotlightd.commands.collect.replay import find_stream
from spotlightd.commands.command import Command, argument
from spotlightd.commands.output import Out
from spotlightd.errors import SettingsError
from spotlightd.model.bus import KEY, Records
from spotlightd.model.stream import Stream
from spotlightd.ports.bus import Bus
from spotlightd.printable import escape_text
from spotlightd.runtime.streams import open_bus
from spotlightd.settings.settings import Settings

WAIT_SECONDS = 0.5
BATCH_FRAMES = 1_000
BATCH_BYTES = 4 << 20


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Print messages until interrupted; with --once, only those that are in the topic now."""
    source = find_stream(arguments.topic, settings)
    async with open_bus(settings) as bus:
        all_ends = await bus.ends(source.name)
        if arguments.partition not in all_ends:
            raise SettingsError(f"topic {source.name} has no partition {arguments.partition}")
        ends = all_ends[arguments.partition]
        offset = max(ends.start, ends.end - arguments.last)
        async with _open_batches(bus, source, arguments.partition, offset) as batches:
            async for records in batches:
                for index in range(len(records)):
                    out.result(*_describe_message(records, index))
                if arguments.once and (not len(records) or records.offsets[-1] + 1 >= ends.end):
                    return 0
    return 0


@asynccontextmanager
async def _open_batches(bus: Bus, source: Stream, partition: int, offset: int) -> AsyncIterator[AsyncIterator[Records]]:
    async def read_batches() -> AsyncIterator[Records]:
        while True:
            yield await reader.next(frames=BATCH_FRAMES, size=BATCH_BYTES, seconds=0, idle_seconds=WAIT_SECONDS)

    async with bus.open_reader(source.name, partition, offset) as reader:
        yield read_batches()


def _describe_message(records: Records, index: int) -> tuple[str, dict[str, Any]]:
    """One message as a line for people and as facts for programs: offset, age, connection, sequence, the frame as text."""
    _, connection, sequence, received = KEY.unpack(records.key(index))
    at = datetime.fromtimestamp(received / 1e9, UTC)
    age = (datetime.now(UTC) - at).total_seconds()
    text = records.values[index].decode("utf-8", errors="backslashreplace")
    facts = {
        "offset": records.offsets[index], "received": at.isoformat(), "connection": f"{connection:016x}",
        "sequence": sequence, "frame": text,
    }  # fmt: skip
    return f"{facts['offset']:>10}  {age:8.2f} s  {connection:016x}/{sequence}  {escape_text(text)}", facts


COMMAND = Command(
    "tail",
    "print the messages of a topic as they arrive, with offset and age",
    "spotlightd tail finnhub --last 20",
    (
        argument("topic", metavar="TOPIC", help="name of a stream"),
        argument("--partition", type=int, default=0, help="number of the partition (default: 0)"),
        argument("--last", type=int, default=10, help="how many older messages to print first (default: 10)"),
        argument("--once", action="store_true", help="end after the messages that are in the topic now"),
    ),
    run,
)
