"""One intent: frames as they are into the source's frames table, then the source's SELECT over exactly those offsets.

Each statement carries a token made of the offsets. Who repeats one first makes sure that no earlier attempt still runs,
and then counts: what is there is left alone, what is there in part is deleted and done again. The token is the second
belt only, because a repeat that is cut into other blocks is not recognised by it.

Frames and rows are counted before an intent is done: an engine on a full disk answered that it had written rows, and
had kept none.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from spotlightd.errors import StoreError
from spotlightd.flows.stream.decode import Decoder
from spotlightd.flows.stream.sequences import DAY_NANOSECONDS, keys_of
from spotlightd.log import logger
from spotlightd.model.bus import Records
from spotlightd.model.offsets import Intent, LostFrame
from spotlightd.model.stream import Stream, frames_of
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql import decode

PIECE_BYTES = 1 << 20
BY_RECEIVED = "toYYYYMMDD(received)"
MINE = f"source = {{source:String}} AND load_id = {{load_id:UInt64}} AND {decode.SPAN}"
SCHEMA = pa.schema([
    ("epoch", pa.uint16()), ("partition", pa.uint16()), ("offset", pa.uint64()), ("part", pa.uint16()),
    ("connection", pa.uint64()), ("sequence", pa.uint64()), ("received", pa.timestamp("ns", "UTC")),
    ("repeat", pa.uint8()), ("frame", pa.binary()),
])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mover:
    """Moves the frames of one stream."""

    source: Stream
    warehouse: Warehouse
    decoder: Decoder

    async def keep(self, intent: Intent, records: Records, repeats: Any) -> None:
        """The frames into their table, as one block. They are counted when they are decoded."""
        await self.warehouse.insert_stream(
            frames_of(self.source), _pieces(_block(intent, records, repeats)), token=f"{intent.token}-frames"
        )

    async def kept(self, intent: Intent) -> int:
        """How many of the intent's frames are in the table."""
        table = frames_of(self.source).name
        sql = f"SELECT count() FROM {table} WHERE {decode.SPAN}"
        return int((await self.warehouse.rows(sql, _span(intent))).rows[0][0])

    async def decode(self, intent: Intent, since: datetime) -> tuple[int, list[LostFrame]]:
        """Rows of frames that are kept, of which none is decoded yet: how many, and the frames that gave none.

        `since` is when the first of the frames was received.
        """
        rows, lost = await self.decoder.insert(decode.SPAN, _span(intent), token=intent.token, strict=True)
        await self._counted(intent, rows, since)
        return rows, lost

    async def _counted(self, intent: Intent, rows: int, since: datetime | None = None) -> None:
        """StoreError unless the frames and the rows that were written are there, each once. One question for both:
        asking costs more than counting.
        """
        which, values = self._mine(intent, since)
        sql = (
            f"SELECT (SELECT count() FROM {frames_of(self.source).name} WHERE {decode.SPAN}),"
            f" (SELECT count() FROM {self.source.dataset.name} WHERE {which})"
        )
        found = (await self.warehouse.rows(sql, values)).rows[0]
        if found != (intent.frames, rows):
            raise StoreError(
                f"{intent.frames} frames and {rows} rows of {self.source.name} were written, and the warehouse holds"
                f" {found[0]} and {found[1]}: is its disk full?"
            )

    async def here(self, intent: Intent) -> int:
        """How many rows of the intent are in the table."""
        which, values = self._mine(intent)
        sql = f"SELECT count() FROM {self.source.dataset.name} WHERE {which}"
        return int((await self.warehouse.rows(sql, values)).rows[0][0])

    def _mine(self, intent: Intent, since: datetime | None = None) -> tuple[str, dict[str, Any]]:
        """The condition of the intent's rows. Where the table is partitioned by receiving, parts that are older are not
        looked at: the cost does not grow with the day.
        """
        values = _span(intent)
        if self.source.dataset.partition != BY_RECEIVED:
            return MINE, values
        values["since"] = since or datetime.combine(intent.day, time(), UTC)
        return f"{MINE} AND received >= {{since:DateTime64(6, 'UTC')}}", values

    async def settle(self, intent: Intent, *, readable: bool, take_back: bool = False) -> tuple[bool, list[LostFrame]]:
        """Finish an intent that was interrupted: whether its frames are kept, and those that could not be decoded.

        When they are not, or it is to be taken back, nothing of it is left in the tables, and it is moved anew. What
        can no longer be read is never taken back.
        """
        await self.warehouse.end_statements(intent.token)
        kept = await self.kept(intent) == intent.frames
        changed = intent.decode != self.source.parser
        if changed:
            logger(source=self.source.name).warning("decode changed", was=intent.decode, now=self.source.parser)
        if not kept or (readable and (take_back or changed)):
            await self.forget(intent)
            return False, []
        values = _span(intent)
        if await self.here(intent) == await self.decoder.wanted(decode.SPAN, values):
            return True, await self.decoder.rejected(decode.SPAN, values)
        await self.forget_rows(intent)
        again = f"{intent.token}-again-{secrets.token_hex(4)}"
        rows, lost = await self.decoder.insert(decode.SPAN, values, token=again)
        await self._counted(intent, rows)
        return True, lost

    async def forget(self, intent: Intent) -> None:
        """Take back what an intent brought, frames and rows."""
        await self.forget_rows(intent)
        await self.warehouse.execute(f"DELETE FROM {frames_of(self.source).name} WHERE {decode.SPAN}", _span(intent))

    async def forget_rows(self, intent: Intent) -> None:
        if await self.here(intent):
            await self.warehouse.execute(f"DELETE FROM {self.source.dataset.name} WHERE {MINE}", _span(intent))


def _span(intent: Intent) -> dict[str, Any]:
    return {
        "epoch": intent.epoch, "partition": intent.partition, "lo": intent.lo, "hi": intent.hi,
        "load_id": intent.load_id, "source": intent.source,
    }  # fmt: skip


def _block(intent: Intent, records: Records, repeats: Any) -> pa.Buffer:
    keys = keys_of(records)
    many = len(records)
    columns = [
        pa.array(np.full(many, intent.epoch, "u2")),
        pa.array(np.full(many, intent.partition, "u2")),
        pa.array(np.asarray(records.offsets, "u8")),
        pa.array(np.full(many, intent.part, "u2")),
        pa.array(np.ascontiguousarray(keys["connection"])),
        pa.array(np.ascontiguousarray(keys["sequence"])),
        pa.array(np.ascontiguousarray(keys["received"]).astype("i8")).cast(SCHEMA.field("received").type),
        pa.array(repeats),
        _binary(records.values),
    ]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
    return sink.getvalue()


def _binary(values: Sequence[bytes]) -> pa.Array:
    """One column of bytes without a Python object for each on the way: the lengths added up, and all bytes in a row."""
    ends = np.fromiter(map(len, values), "i8", len(values)).cumsum()
    offsets = np.concatenate([[0], ends]).astype("i4")
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(pa.binary(), len(values), buffers)


async def _pieces(block: pa.Buffer) -> AsyncIterator[bytes]:
    """In one piece it would be copied twice as a whole, and hold up the loop meanwhile."""
    for at in range(0, block.size, PIECE_BYTES):
        yield block[at : at + PIECE_BYTES].to_pybytes()


def split_by_day(records: Records) -> Sequence[Records]:
    """The records in pieces of one received day each, in order."""
    days = keys_of(records)["received"] // np.uint64(DAY_NANOSECONDS)
    edges = [0, *(int(at) + 1 for at in np.flatnonzero(np.diff(days))), len(records)]
    return [records.slice(first, last) for first, last in pairwise(edges)]


LAST_MOVE_SECONDS = 4.0  # what is being moved when we are told to stop may finish; else it is settled at the next start


@dataclass(frozen=True, slots=True)
class Move:
    """A piece that is being moved. `kept` tells whether its frames are in their table, as soon as that is known."""

    task: asyncio.Task[None]
    kept: asyncio.Future[bool]


async def wait_for_move(task: asyncio.Task[None]) -> None:
    """Wait for a move; its failure is the drain's. Told to stop while waiting, the move is left to finish."""
    await asyncio.wait([task])
    task.result()


async def finish_moves(moves: Collection[asyncio.Task[None]]) -> None:
    """Let what is being moved finish, for a while; then end it. Its failure was or will be told by the recovery.

    None of it runs any more when this returns, however often we are cancelled meanwhile: a move that came to its end
    beside the recovery would put into the tables what that has just put there.
    """
    stopped: asyncio.CancelledError | None = None
    seconds: float | None = LAST_MOVE_SECONDS
    while waiting := [task for task in moves if not task.done()]:
        try:
            await asyncio.wait(waiting, timeout=seconds)
        except asyncio.CancelledError as told:
            stopped = told
        seconds = None
        for task in waiting:
            task.cancel()
    for task in moves:
        if not task.cancelled() and (problem := task.exception()):
            logger().warning("move unfinished", error=str(problem))
    if stopped is not None:
        raise stopped
