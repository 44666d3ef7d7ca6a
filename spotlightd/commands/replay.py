"""Commands about streams: replay, tail."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from spotlightd.commands.collect import watched
from spotlightd.commands.output import Out
from spotlightd.errors import SettingsError
from spotlightd.flows.stream.parts import Parts
from spotlightd.flows.stream.replay import ReplayResult
from spotlightd.model.bus import KEY, Records
from spotlightd.model.stream import Stream
from spotlightd.ports.bus import Bus
from spotlightd.ports.ledger import Job
from spotlightd.runtime.catalog import catalog
from spotlightd.runtime.endpoint import running_daemon
from spotlightd.runtime.instance import LEDGER_FILE, open_instance
from spotlightd.runtime.streams import looked_at, replay_of
from spotlightd.settings.settings import Settings

TAIL_SECONDS = 0.5
TAIL_FRAMES = 1_000
TAIL_BYTES = 4 << 20


async def replay(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Decode kept frames again and switch readers over. Beside a running daemon it is the daemon that does it."""
    source = stream(arguments.source, settings)
    if arguments.first > arguments.last:
        raise SettingsError(f"--from {arguments.first} is after --to {arguments.last}")
    if running_daemon(settings) is not None:
        return await watched(Job("replay", source.name, arguments.first, arguments.last), settings, out)
    if not (settings.state_dir / LEDGER_FILE).exists():
        raise SettingsError(f"there is nothing in {settings.state_dir} to replay: name the state folder with --state")
    async with open_instance(settings) as house:
        stores = house.stores
        parts = Parts(stores.ledger, stores.publications, house.positions)
        work = replay_of(source, house, parts)
        with out.progress(f"replay {source.name}") as moves:

            async def progress(says: str, done: int, total: int) -> None:
                moves(says, done, total)

            done = await work.days(arguments.first, arguments.last, progress)
    _told(source, done, out)
    return 0


def _told(source: Stream, done: list[ReplayResult], out: Out) -> None:
    rows = [(str(one.day), one.part, one.rows, one.rejects) for one in done]
    if out.as_json:
        out.value({"source": source.name, "parts": [dict(zip(PARTS, row, strict=True)) for row in rows]})
        return
    out.table(PARTS, [tuple(map(str, row)) for row in rows])


PARTS = ("day", "part", "rows", "rejects")


async def tail(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Show messages of a topic as they come, until interrupted, or the newest ones with --once."""
    source = stream(arguments.topic, settings)
    async with looked_at(settings) as bus:
        ends = await bus.ends(source.name)
        if arguments.partition not in ends:
            raise SettingsError(f"topic {source.name} has no partition {arguments.partition}")
        one = ends[arguments.partition]
        offset = max(one.start, one.end - arguments.last)
        async with _reading(bus, source, arguments.partition, offset) as messages:
            async for records in messages:
                for place in range(len(records)):
                    out.say(*_line(records, place))
                if arguments.once and (not len(records) or records.offsets[-1] + 1 >= one.end):
                    return 0
    return 0


@asynccontextmanager
async def _reading(bus: Bus, source: Stream, partition: int, offset: int) -> AsyncIterator[AsyncIterator[Records]]:
    async def groups() -> AsyncIterator[Records]:
        while True:
            yield await reading.next(frames=TAIL_FRAMES, size=TAIL_BYTES, seconds=0, idle_seconds=TAIL_SECONDS)

    async with bus.reading(source.name, partition, offset) as reading:
        yield groups()


def _line(records: Records, place: int) -> tuple[str, dict[str, Any]]:
    """One message for people, and for programs: offset, age, connection and sequence, and the frame as text."""
    _, connection, sequence, received = KEY.unpack(records.key(place))
    at = datetime.fromtimestamp(received / 1e9, UTC)
    age = (datetime.now(UTC) - at).total_seconds()
    text = records.values[place].decode("utf-8", errors="backslashreplace")
    facts = {
        "offset": records.offsets[place], "received": at.isoformat(), "connection": f"{connection:016x}",
        "sequence": sequence, "frame": text,
    }  # fmt: skip
    return f"{facts['offset']:>10}  {age:8.2f} s  {connection:016x}/{sequence}  {text}", facts


def stream(name: str, settings: Settings) -> Stream:
    """The stream of that name."""
    known = {one.name: one for one in catalog(settings).streams}
    if name not in known:
        raise SettingsError(f"no stream is called {name!r}; there are: {', '.join(known)}")
    return known[name]
