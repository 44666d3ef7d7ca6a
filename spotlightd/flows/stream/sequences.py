"""Which frames of which connection have been here: repeats are kept and not decoded again, holes are noticed.

Fresh is a frame whose sequence is above its connection's highest, and that costs nothing to see. For any other frame
the frames table is asked whether it is there: a sender that lost its acknowledgements sends frames again that came
before, and a log that lost records gets them again after later ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any

import numpy as np

from spotlightd.model.bus import FOREIGN_CONNECTION, Records
from spotlightd.ports.warehouse import Warehouse

KEYS = np.dtype([("source", "<u8"), ("connection", "<u8"), ("sequence", "<u8"), ("received", "<u8")])
DAY_NANOSECONDS = 86_400 * 10**9
HIGHEST = """
SELECT max(sequence) AS highest, count() AS frames, min(sequence) AS lowest, uniqExact(sequence) AS whole,
    toUnixTimestamp64Nano(max(received)) AS last FROM {table}
WHERE received >= {{day:Date}} - 1 AND connection = {{connection:UInt64}}
"""
ABSENT = """
SELECT above, sequence, toUnixTimestamp64Nano(before), toUnixTimestamp64Nano(received) FROM (
    SELECT sequence, received, lagInFrame(sequence, 1, sequence) OVER (ORDER BY sequence) + 1 AS above,
        lagInFrame(received, 1, received) OVER (ORDER BY sequence) AS before FROM {table}
    WHERE received >= {{day:Date}} - 1 AND connection = {{connection:UInt64}}
) WHERE above < sequence ORDER BY above LIMIT 1000
"""
PRESENT = """
SELECT sequence FROM {table}
WHERE received >= {{day:Date}} - 1 AND connection = {{connection:UInt64}} AND sequence BETWEEN {{lo:UInt64}} AND {{hi:UInt64}}
"""


def keys_of(records: Records) -> Any:
    """The keys as a numpy array of KEYS."""
    return np.frombuffer(records.keys, dtype=KEYS)


def connections(keys: Any) -> list[int]:
    """Which connections the frames are of; strangers are none. Most batches are of one."""
    column = keys["connection"]
    found = column[:1] if bool((column == column[0]).all()) else np.unique(column)
    return [int(one) for one in found if one != FOREIGN_CONNECTION]


def of_connection(keys: Any, connection: int) -> Any:
    """The frames of one connection, in order."""
    mine = keys["connection"] == connection
    return keys if bool(mine.all()) else keys[mine]


def day_of(received: int) -> date:
    """The UTC day of a receive time in nanoseconds."""
    return datetime.fromtimestamp(received // 10**9, UTC).date()


@dataclass(frozen=True, slots=True)
class Hole:
    """Sequences [lo, hi) of a connection that did not come, while later ones did.

    `since` and `until` are when the frames around it were received, where the frames table was asked.
    """

    connection: int
    lo: int
    hi: int
    since: int = 0
    until: int = 0


@dataclass(slots=True)
class SequenceTracker:
    """What one drain knows of the connections, in memory; the frames table is asked about what it does not know."""

    warehouse: Warehouse
    table: str
    highest: dict[int, int] = field(default_factory=dict)
    last: dict[int, int] = field(default_factory=dict)  # when the last frame of a connection was received
    holes: dict[int, list[Hole]] = field(default_factory=dict)
    found: list[Hole] = field(default_factory=list)

    def is_plain(self, keys: Any) -> bool:
        """Whether all frames are fresh and nobody has to be asked: the usual case."""
        for connection in connections(keys):
            sequences = of_connection(keys, connection)["sequence"]
            known = self.highest.get(connection)
            if known is None or int(sequences[0]) <= known or not _ascends(sequences):
                return False
        return True

    async def repeats(self, keys: Any) -> Any:
        """For each frame 1 if it was here before, else 0; all frames before these must be in the table already."""
        found = np.zeros(len(keys), dtype=np.uint8)
        for connection in connections(keys):
            await self._mark(connection, keys, found)
        return found

    async def _mark(self, connection: int, keys: Any, found: Any) -> None:
        places = np.flatnonzero(keys["connection"] == connection)
        sequences = keys["sequence"][places]
        values = {"day": day_of(int(keys["received"][places].min())), "connection": connection}
        if connection not in self.highest:
            answer = (await self.warehouse.rows(HIGHEST.format(table=self.table), values)).dicts()[0]
            self.highest[connection] = int(answer["highest"]) if answer["frames"] else -1
            if answer["frames"]:
                self.last[connection] = int(answer["last"])
            if answer["whole"] < answer["highest"] - answer["lowest"] + 1:  # holes that a drain before this one saw
                absent = await self.warehouse.rows(ABSENT.format(table=self.table), values)
                self.found += [Hole(connection, *map(int, row)) for row in absent.rows]
                self.holes[connection] = [one for one in self.found if one.connection == connection]
        present: set[int] = set()
        if int(sequences.min()) <= self.highest[connection]:
            span = {"lo": int(sequences.min()), "hi": int(sequences.max())}
            present = {
                row[0] for row in (await self.warehouse.rows(PRESENT.format(table=self.table), values | span)).rows
            }
        if not present and _ascends(sequences):
            return
        for place, sequence in zip(places, sequences, strict=True):
            found[place] = int(sequence) in present
            present.add(int(sequence))

    def note(self, keys: Any) -> list[Hole]:
        """These frames are taken: remember the highest of each connection. Answers holes that were not told before."""
        new, self.found = self.found, []
        for connection in connections(keys):
            sequences = _ascending(of_connection(keys, connection)["sequence"])
            new += self._missing(connection, sequences)
            self.highest[connection] = max(self.highest.get(connection, -1), int(sequences[-1]))
        return new

    def _missing(self, connection: int, sequences: Any) -> list[Hole]:
        known = self.highest.get(connection, -1)
        arrived = sequences[sequences <= known].tolist() if connection in self.holes else []
        if arrived:
            self.holes[connection] = [piece for one in self.holes[connection] for piece in _without(one, arrived)]
        above = sequences[sequences > known].astype(np.int64)
        steps = np.diff(above, prepend=np.int64(known))
        jumps = np.flatnonzero(steps > 1)
        new = [Hole(connection, int(above[at] - steps[at] + 1), int(above[at])) for at in jumps]
        if new:
            self.holes.setdefault(connection, []).extend(new)
        return new

    def durable(self, keys: Any) -> dict[int, int]:
        """By connection of these frames: the sequence up to which nothing is missing, -1 when the first one is."""
        return {one: self.whole(one) for one in connections(keys)}

    def whole(self, connection: int) -> int:
        """The sequence up to which nothing of a connection is missing, -1 when the first one is."""
        return min([self.highest[connection], *(hole.lo - 1 for hole in self.holes.get(connection, ()))])

    def is_missing(self, hole: Hole) -> bool:
        """Whether anything of a hole is."""
        return any(hole.lo <= one.lo < hole.hi for one in self.holes.get(hole.connection, []))

    def give_up(self, hole: Hole) -> bool:
        """Wait no longer for what is still missing of a hole; whether anything was."""
        left = [one for one in self.holes.get(hole.connection, []) if hole.lo <= one.lo < hole.hi]
        self.holes[hole.connection] = [one for one in self.holes.get(hole.connection, []) if one not in left]
        return bool(left)


def _ascends(sequences: Any) -> bool:
    return bool((sequences[1:] > sequences[:-1]).all())


def _ascending(sequences: Any) -> Any:
    """Each sequence once, in order, as they nearly always are."""
    return sequences if _ascends(sequences) else np.unique(sequences)


def _without(hole: Hole, arrived: Sequence[int]) -> list[Hole]:
    """What is left of a hole after these sequences, sorted, came."""
    edges = [hole.lo - 1, *(one for one in arrived if hole.lo <= one < hole.hi), hole.hi]
    return [Hole(hole.connection, below + 1, above) for below, above in pairwise(edges) if above - below > 1]
