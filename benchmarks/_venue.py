"""The demo's exchange in a process of its own: `_venue.py '{"rate": 10000}'` (a Script's fields).

It prints its address as JSON, then obeys one JSON object a line: {"do": "burst", "factor": 100, "seconds": 5},
{"do": "stall"}, {"do": "count"}. Each is answered, when it is done, with how many ticks were made until then. It ends
with its standard input. `Venue` is the other end.
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

from spotlightd.demo.exchange import Exchange, Script, exchanging

FORGET_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Venue:
    """An exchange that was begun."""

    address: str
    process: Process

    async def told(self, do: str, **facts: float) -> int:
        """Have it do that, and wait; how many ticks it has made."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"do": do, **facts}).encode() + b"\n")
        return int((await _line(self.process))["made"])


@asynccontextmanager
async def venue(**script: Any) -> AsyncIterator[Venue]:
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
    told: dict[str, Any] = json.loads(await process.stdout.readline())
    return told


async def _serve(script: Script) -> None:
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with exchanging(script) as exchange:
        forgetting = asyncio.create_task(_forget(exchange), name="forget")
        print(json.dumps({"address": exchange.address}), flush=True)
        while line := await reader.readline():
            await _do(exchange, json.loads(line))
            print(json.dumps({"made": len(exchange.ticks)}), flush=True)
        forgetting.cancel()


async def _do(exchange: Exchange, told: dict[str, Any]) -> None:
    if told["do"] == "burst":
        await exchange.burst(told["factor"], told["seconds"])
    elif told["do"] == "stall":
        exchange.stall()
        await asyncio.sleep(0.1)  # what is being sent is sent


async def _forget(exchange: Exchange) -> None:
    """Ticks are counted by their numbers; a list of millions of frames would only make this process slow."""
    while True:
        await asyncio.sleep(FORGET_SECONDS)
        exchange.sent.clear()


if __name__ == "__main__":
    gc.freeze()
    asyncio.run(_serve(Script(**json.loads(sys.argv[1]))))
