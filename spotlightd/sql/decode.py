"""The statements around a stream's `decode`. Text only: what runs them is the drain, a replay, or a test.

The one SELECT is used three ways. Strict, in the drain: a reject stops the statement before anything is written, which
costs nothing while there are none. Lenient, after that happened, and in a replay: rejects are left out. And alone, to
name the rejects. All three see the same frames: those that are no repeats.
"""

from __future__ import annotations

from spotlightd.model.dataset import LOAD
from spotlightd.model.stream import Stream, frames_of

MOST_REJECTS = 100_000
REJECTED = "a frame was not understood"
SPAN = "epoch = {epoch:UInt16} AND partition = {partition:UInt16} AND offset >= {lo:UInt64} AND offset < {hi:UInt64}"
"""Frames of one intent."""
PART = "received >= {day:Date} AND received < {day:Date} + 1 AND part = {part:UInt16}"
"""Frames of one load."""


def select_decoded(source: Stream, which: str, frames_in: str = "", *, first_look: bool = False) -> str:
    """The source's SELECT over its frames for which the condition `which` holds. `frames_in`: what stands behind FROM,
    when it is not the frames table alone.
    """
    frames = f"(SELECT * FROM {frames_in or frames_of(source).name} WHERE {which} AND repeat = 0)"
    return ((first_look and source.fast_decode) or source.decode).replace("{frames}", frames)


def insert_decoded(source: Stream, which: str, frames_in: str = "", *, strict: bool) -> str:
    """INSERT … SELECT of the rows, under `{load_id:UInt64}`. Strict, it takes the source's first look, and fails with
    REJECTED if any frame is a reject.
    """
    dataset = source.dataset
    names = [column.name for column in dataset.stored]
    load_id = "{load_id:UInt64}"
    # in a WHERE it would be pushed down to where the table is read, and stop at frames beside those that are asked for
    failing = f"{load_id} + throwIf(reject != '', '{REJECTED}')"
    told = {LOAD.name: failing if strict else load_id, "source": f"'{source.name}'"}
    values = ", ".join(f"{told[name]} AS `{name}`" if name in told else f"`{name}`" for name in names)
    kept = "" if strict else " WHERE reject = ''"
    columns = ", ".join(f"`{name}`" for name in names)
    found = select_decoded(source, which, frames_in, first_look=strict)
    return f"INSERT INTO {dataset.name} ({columns}) SELECT {values} FROM ({found}){kept}"


def count_decoded(source: Stream, which: str, frames_in: str = "") -> str:
    """How many rows the frames decode to."""
    return f"SELECT count() FROM ({select_decoded(source, which, frames_in)}) WHERE reject = ''"


def select_rejects(source: Stream, which: str, frames_in: str = "") -> str:
    """(epoch, partition, offset, beginning of the frame, reason) of the frames that were not understood: the first ones,
    when a whole day is not.
    """
    found = (
        f"SELECT epoch, partition, offset, reject FROM ({select_decoded(source, which, frames_in)}) WHERE reject != ''"
    )
    return (
        f"SELECT epoch, partition, offset, left(any(frame), 2000), any(reject) FROM (SELECT * FROM {frames_in or frames_of(source).name}) AS frames"
        f" INNER JOIN ({found}) AS rejects USING (epoch, partition, offset) WHERE {which}"
        f" GROUP BY epoch, partition, offset ORDER BY epoch, partition, offset LIMIT {MOST_REJECTS}"
    )
