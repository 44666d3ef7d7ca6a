"""How many publications and visible rows `loads` knows of each dataset, asked every few seconds.

There may be a million publications, and they are only ever added. So a look reads those that are newer than the last look.
It counts all of them when a newer one supersedes another, or when the table went back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from spotlightd.ports.warehouse import Warehouse

ALL = """
SELECT dataset, count(), sumIf(rows, (dataset, load_id) NOT IN
    (SELECT dataset, arrayJoin(supersedes) FROM loads WHERE seq <= {seq:UInt64} AND notEmpty(supersedes)))
FROM loads
WHERE seq <= {seq:UInt64} AND seq > transform(dataset, {names:Array(String)}, {losses:Array(UInt64)}, toUInt64(0))
GROUP BY dataset
"""
NEWER = """
SELECT dataset, countIf(seq > {seq:UInt64}), sumIf(rows, seq > {seq:UInt64}), max(seq), min(seq),
    countIf(seq > {seq:UInt64} AND notEmpty(supersedes))
FROM loads WHERE seq >= {seq:UInt64} GROUP BY dataset
"""


@dataclass(frozen=True, slots=True)
class Published:
    """What `loads` knows of a dataset: the number of its publications, and the rows of those that are visible. Without
    those that an operator knows to be lost.
    """

    publications: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class _Counts:
    """The counts up to the publication `seq`, by dataset."""

    seq: int = 0
    losses: Mapping[str, int] = field(default_factory=dict)
    by_dataset: Mapping[str, Published] = field(default_factory=dict)


class PublicationCounter:
    """Counts the publications of a warehouse, and remembers how far it has counted."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._counts = _Counts()

    async def count(self, losses: Mapping[str, int]) -> Mapping[str, Published]:
        """The counts as of now, by dataset. `losses`: up to which publication the rows of a table are known to be lost."""
        newer = await self._count_newer() if self._counts.seq and self._counts.losses == losses else None
        self._counts = newer or await self._count_all(losses)
        return self._counts.by_dataset

    async def _count_newer(self) -> _Counts | None:
        """None when what was counted before does not hold any more."""
        before = self._counts
        rows = (await self._warehouse.rows(NEWER, {"seq": before.seq})).rows
        went_back = before.seq not in {first for *_, first, _ in rows}
        if went_back or any(superseding for *_, superseding in rows):
            return None
        counts = dict(before.by_dataset)
        for dataset, publications, visible, *_ in rows:
            known = counts.get(dataset, Published())
            if publications:
                counts[dataset] = Published(known.publications + publications, known.rows + visible)
        return _Counts(max(newest for _, _, _, newest, _, _ in rows), before.losses, counts)

    async def _count_all(self, losses: Mapping[str, int]) -> _Counts:
        seq = int((await self._warehouse.rows("SELECT max(seq) FROM loads")).rows[0][0])
        known = {"": 0, **losses}  # the function needs at least one
        values = {"seq": seq, "names": list(known), "losses": list(known.values())}
        rows = (await self._warehouse.rows(ALL, values)).rows
        return _Counts(seq, dict(losses), {name: Published(*counts) for name, *counts in rows})
