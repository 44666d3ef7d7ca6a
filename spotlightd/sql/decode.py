"""The statements around a stream's `decode`. Text only: the drain, a replay or a test runs them.

The one SELECT is used in three ways. Strict, in the drain: a reject stops the statement before anything is written,
which costs nothing while there are none. Lenient, after that happened and in a replay: rejects are left out. And alone,
to list the rejects. All three read the same frames: those that are not repeats.
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


def select_decoded(source: Stream, which: str, frames_in: str = "", *, fast: bool = False) -> str:
    """The source's SELECT over its frames that satisfy the condition `which`. `frames_in` is the text after FROM when it
    is not the frames table alone.
    """
    frames = f"(SELECT * FROM {frames_in or frames_of(source).name} WHERE {which} AND repeat = 0)"
    return ((fast and source.fast_decode) or source.decode).replace("{frames}", frames)


def insert_decoded(source: Stream, which: str, frames_in: str = "", *, strict: bool) -> str:
    """INSERT … SELECT of the rows with `{load_id:UInt64}`. A strict one uses the source's fast decode, and fails with
    REJECTED if any frame is a reject.
    """
    dataset = source.dataset
    names = [column.name for column in dataset.stored]
    load_id = "{load_id:UInt64}"
    # not in a WHERE: it would be pushed down to the table, and also stop at frames that were not requested
    failing = f"{load_id} + throwIf(reject != '', '{REJECTED}')"
    constants = {LOAD.name: failing if strict else load_id, "source": f"'{source.name}'"}
    values = ", ".join(f"{constants[name]} AS `{name}`" if name in constants else f"`{name}`" for name in names)
    condition = "" if strict else " WHERE reject = ''"
    columns = ", ".join(f"`{name}`" for name in names)
    rows = select_decoded(source, which, frames_in, fast=strict)
    return f"INSERT INTO {dataset.name} ({columns}) SELECT {values} FROM ({rows}){condition}"


def count_decoded(source: Stream, which: str, frames_in: str = "") -> str:
    """SELECT the number of rows that the frames decode to."""
    return f"SELECT count() FROM ({select_decoded(source, which, frames_in)}) WHERE reject = ''"


def select_rejects(source: Stream, which: str, frames_in: str = "") -> str:
    """SELECT epoch, partition, offset, first bytes and reason of the frames that could not be decoded, at most
    MOST_REJECTS.
    """
    frames = frames_in or frames_of(source).name
    decoded = select_decoded(source, which, frames_in)
    rejects = f"SELECT epoch, partition, offset, reject FROM ({decoded}) WHERE reject != ''"
    return (
        f"SELECT epoch, partition, offset, left(any(frame), 2000), any(reject) FROM (SELECT * FROM {frames}) AS frames"
        f" INNER JOIN ({rejects}) AS rejects USING (epoch, partition, offset) WHERE {which}"
        f" GROUP BY epoch, partition, offset ORDER BY epoch, partition, offset LIMIT {MOST_REJECTS}"
    )
