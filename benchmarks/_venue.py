"""The demo's exchange in a process of its own: `_venue.py '{"rate": 10000}'` (a Script's fields).

It prints its address as JSON, then runs one command per line, a JSON object: {"do": "burst", "factor": 100, "seconds": 5},
{"do": "stall"}, {"do": "count"}. After each command it prints the number of ticks sent so far. It ends when its standard
input ends. `Venue` is the client.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from spotlightd.demo.exchange import Exchange, Script, run_exchange


@dataclass(frozen=True, slots=True)
class Venue:
    """A running exchange."""

    address: str
    process: Process

    async def send(self, do: str, **arguments: float) -> int:
        """Run a command, and wait. Returns the number of ticks sent so far."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        return int((await _line(self.process))["sent"])


@asynccontextmanager
async def run_venue(**script: Any) -> AsyncIterator[Venue]:
    """An exchange at work while the block runs."""
    command = [sys.executable, __file__, json.dumps(script)]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    try:
        yield Venue((await _line(process))["address"], process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _line(process: Process) -> dict[str, Any]:
    assert process.stdout
    answer: dict[str, Any] = json.loads(await process.stdout.readline())
    return answer


async def _serve(script: Script) -> None:
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with run_exchange(script) as exchange:
        print(json.dumps({"address": exchange.address}), flush=True)
        while line := await reader.readline():
            await _do(exchange, json.loads(line))
            print(json.dumps({"sent": len(exchange.ticks)}), flush=True)


async def _do(exchange: Exchange, command: dict[str, Any]) -> None:
    if command["do"] == "burst":
        await exchange.burst(command["factor"], command["seconds"])
    elif command["do"] == "stall":
        exchange.stall()
        await asyncio.sleep(0.1)  # frames on their way are sent meanwhile


if __name__ == "__main__":
    gc.freeze()
    asyncio.run(_serve(Script(keeps_sent=False, **json.loads(sys.argv[1]))))
