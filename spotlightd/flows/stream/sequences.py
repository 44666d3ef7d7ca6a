"""Which frames of a connection were moved before: repeats are stored but not decoded again, and holes are noticed.

A frame is new when its sequence is above the highest of its connection, and that costs nothing to check. For any other
frame the frames table is asked whether it is there: a sender that lost its acknowledgements sends earlier frames again,
and a log that lost records receives them again after later ones.
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

MOST_CONNECTIONS = 1_000  # a venue that hangs up all the time makes ten a minute
KEYS = np.dtype([("source", "<u8"), ("connection", "<u8"), ("sequence", "<u8"), ("received", "<u8")])
DAY_NANOSECONDS = 86_400 * 10**9
HIGHEST = """
SELECT max(sequence) AS highest, count() AS frames, min(sequence) AS lowest, uniqExact(sequence) AS distinct_frames,
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
    """The connections of the frames, without the records that no listener wrote. Most batches have one connection."""
    column = keys["connection"]
    distinct = column[:1] if bool((column == column[0]).all()) else np.unique(column)
    return [int(connection) for connection in distinct if connection != FOREIGN_CONNECTION]


def of_connection(keys: Any, connection: int) -> Any:
    """The frames of one connection, in order."""
    mask = keys["connection"] == connection
    return keys if bool(mask.all()) else keys[mask]


def day_of(received: int) -> date:
    """The UTC day of a receive time in nanoseconds."""
    return datetime.fromtimestamp(received // 10**9, UTC).date()


@dataclass(frozen=True, slots=True)
class Hole:
    """Sequences [lo, hi) of a connection that are missing, while later ones are there.

    `since` and `until` are when the frames around it were received; 0 when the frames table was not asked.
    """

    connection: int
    lo: int
    hi: int
    since: int = 0
    until: int = 0


@dataclass(slots=True)
class SequenceTracker:
    """What one drain knows of the connections, in memory. It asks the frames table about the rest.

    It knows those that had frames last, and those with an open hole. To forget one is safe: when a frame of it comes again,
    the table tells what was stored of it, as after a restart.
    """

    warehouse: Warehouse
    table: str
    highest: dict[int, int] = field(default_factory=dict)
    last: dict[int, int] = field(default_factory=dict)  # when the last frame of a connection was received
    holes: dict[int, list[Hole]] = field(default_factory=dict)
    new_holes: list[Hole] = field(default_factory=list)

    def are_new(self, keys: Any) -> bool:
        """Whether all frames are new, so that the table need not be asked: the usual case."""
        for connection in connections(keys):
            sequences = of_connection(keys, connection)["sequence"]
            highest = self.highest.get(connection)
            if highest is None or int(sequences[0]) <= highest or not _is_ascending(sequences):
                return False
        return True

    async def find_repeats(self, keys: Any) -> Any:
        """For each frame 1 if it was stored before, else 0. All frames before these must be in the table already."""
        repeats = np.zeros(len(keys), dtype=np.uint8)
        for connection in connections(keys):
            await self._mark_repeats(connection, keys, repeats)
        return repeats

    async def _mark_repeats(self, connection: int, keys: Any, repeats: Any) -> None:
        indexes = np.flatnonzero(keys["connection"] == connection)
        sequences = keys["sequence"][indexes]
        values = {"day": day_of(int(keys["received"][indexes].min())), "connection": connection}
        if connection not in self.highest:
            await self._load_connection(connection, values)
        present: set[int] = set()
        if int(sequences.min()) <= self.highest[connection]:
            span = {"lo": int(sequences.min()), "hi": int(sequences.max())}
            answer = await self.warehouse.rows(PRESENT.format(table=self.table), values | span)
            present = {row[0] for row in answer.rows}
        if not present and _is_ascending(sequences):
            return
        for index, sequence in zip(indexes, sequences, strict=True):
            repeats[index] = int(sequence) in present
            present.add(int(sequence))

    async def _load_connection(self, connection: int, values: dict[str, Any]) -> None:
        """Ask the table what an earlier drain stored of a connection, and which holes it had seen."""
        answer = (await self.warehouse.rows(HIGHEST.format(table=self.table), values)).dicts()[0]
        self.highest[connection] = int(answer["highest"]) if answer["frames"] else -1
        if answer["frames"]:
            self.last[connection] = int(answer["last"])
        if answer["distinct_frames"] < answer["highest"] - answer["lowest"] + 1:
            absent = await self.warehouse.rows(ABSENT.format(table=self.table), values)
            self.new_holes += [Hole(connection, *map(int, row)) for row in absent.rows]
            self.holes[connection] = [hole for hole in self.new_holes if hole.connection == connection]

    def note(self, keys: Any) -> list[Hole]:
        """Remember the highest sequence of each connection in these frames. Returns the holes not returned before."""
        new, self.new_holes = self.new_holes, []
        current = connections(keys)
        for connection in current:
            sequences = _sort_unique(of_connection(keys, connection)["sequence"])
            new += self._find_holes(connection, sequences)
            self.highest[connection] = max(self.highest.pop(connection, -1), int(sequences[-1]))  # now the newest entry
        self._forget_oldest(current)
        return new

    def _forget_oldest(self, current: Sequence[int]) -> None:
        """Forget the connections without frames for longest, beyond MOST_CONNECTIONS."""
        surplus = len(self.highest) - MOST_CONNECTIONS
        if surplus <= 0:
            return
        closed = (connection for connection in self.highest if not self.holes.get(connection))
        for connection in [connection for connection in closed if connection not in current][:surplus]:
            for known in (self.highest, self.last, self.holes):
                known.pop(connection, None)

    def _find_holes(self, connection: int, sequences: Any) -> list[Hole]:
        highest = self.highest.get(connection, -1)
        arrived = sequences[sequences <= highest].tolist() if connection in self.holes else []
        if arrived:
            self.holes[connection] = [rest for hole in self.holes[connection] for rest in _without(hole, arrived)]
        above = sequences[sequences > highest].astype(np.int64)
        steps = np.diff(above, prepend=np.int64(highest))
        jumps = np.flatnonzero(steps > 1)
        new = [Hole(connection, int(above[index] - steps[index] + 1), int(above[index])) for index in jumps]
        if new:
            self.holes.setdefault(connection, []).extend(new)
        return new

    def durable_sequences(self, keys: Any) -> dict[int, int]:
        """`durable_sequence` of each connection of these frames."""
        return {connection: self.durable_sequence(connection) for connection in connections(keys)}

    def durable_sequence(self, connection: int) -> int:
        """The sequence up to which nothing of a connection is missing; -1 when the first one is missing."""
        return min([self.highest[connection], *(hole.lo - 1 for hole in self.holes.get(connection, ()))])

    def is_open(self, hole: Hole) -> bool:
        """Whether some sequences of a hole are still missing."""
        return any(hole.lo <= rest.lo < hole.hi for rest in self.holes.get(hole.connection, []))

    def give_up(self, hole: Hole) -> bool:
        """Wait no longer for what is still missing of a hole. True when something was."""
        missing = [rest for rest in self.holes.get(hole.connection, []) if hole.lo <= rest.lo < hole.hi]
        self.holes[hole.connection] = [rest for rest in self.holes.get(hole.connection, []) if rest not in missing]
        return bool(missing)


def _is_ascending(sequences: Any) -> bool:
    return bool((sequences[1:] > sequences[:-1]).all())


def _sort_unique(sequences: Any) -> Any:
    """Each sequence once, in order. They nearly always are already."""
    return sequences if _is_ascending(sequences) else np.unique(sequences)


def _without(hole: Hole, arrived: Sequence[int]) -> list[Hole]:
    """What is left of a hole after these sequences, which are sorted, arrived."""
    edges = [hole.lo - 1, *(sequence for sequence in arrived if hole.lo <= sequence < hole.hi), hole.hi]
    return [Hole(hole.connection, below + 1, above) for below, above in pairwise(edges) if above - below > 1]
