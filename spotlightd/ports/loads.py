"""Port of the ledger's loads: which are being made, which are visible, and which of them a document concerns.

No look-up reads all loads of a source: there may be a million. Each says by which index it finds its few.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from spotlightd.model.derivation import Derivation
from spotlightd.model.derived.transform import Transform
from spotlightd.model.provenance import Load, LoadState, Reject
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream


class Loads(Protocol):
    """Loads and their states. A load is visible when it is published and no other published load supersedes it."""

    async def begin_load(
        self, source: Batch | Stream | Transform | Derivation, digest: str, covers: str, *, derived_from: int = 0
    ) -> Load:
        """A new load in state `loading`, with a load_id that was never used before."""

    async def begin_group(self, source: Batch | Derivation, documents: Sequence[tuple[str, str]]) -> tuple[Load, ...]:
        """As `begin_load` for these documents (digest, covers), in their order. This and the other calls for a group are one
        transaction each: they happen for all loads or for none.
        """

    async def close_load(self, load_id: int) -> Load:
        """Record that no more rows will come with that load."""

    async def mark_loaded(self, load_id: int, rows: Mapping[str, int], rejects: Sequence[Reject]) -> Load: ...

    async def mark_group_loaded(
        self, filled: Sequence[tuple[int, Mapping[str, int], Sequence[Reject]]]
    ) -> tuple[Load, ...]:
        """As `mark_loaded`, by load_id."""

    async def intend(self, load_id: int, seq: int, supersedes: Sequence[int], at: datetime) -> Load:
        """Record the intended publication before its row is written: state `publishing`."""

    async def intend_group(self, intents: Sequence[tuple[int, int, Sequence[int], datetime]]) -> tuple[Load, ...]:
        """As `intend`: load_id, seq, superseded loads, time."""

    async def mark_published(self, load_id: int) -> Load:
        """The load is visible, and the loads that it supersedes are not any more."""

    async def mark_group_published(self, load_ids: Sequence[int]) -> tuple[Load, ...]:
        """As `mark_published`."""

    async def mark_dead(self, load_id: int, rejects: Sequence[Reject] = ()) -> Load:
        """Record that the load will never be published. Its rows, if any, must be swept."""

    async def mark_group_dead(self, ended: Sequence[tuple[int, Sequence[Reject]]]) -> tuple[Load, ...]:
        """As `mark_dead`, by load_id."""

    async def mark_swept(self, load_ids: Sequence[int]) -> None: ...

    async def adopt(self, loads: Sequence[Load], taken: Mapping[str, int]) -> None:
        """Take over publications that the warehouse has and this ledger has not (it was lost, or is an older copy).
        New numbers start above `taken`: the highest number in the warehouse, by table.
        """

    async def loads(self, source: str = "", *, states: Sequence[LoadState] = ()) -> tuple[Load, ...]:
        """Loads of one source or of all, oldest first. For states that few loads are in, and for what is made again."""

    async def related_loads(
        self, source: str, covers: str, digest: str = "", *, superseded: bool = False
    ) -> tuple[Load, ...]:
        """The visible loads of a source that a document concerns, oldest first: those that cover its slice, a part of it
        or a larger one, and those of the same bytes. With `superseded` also those that were visible earlier.
        """

    async def related_groups(self, source: str, documents: Sequence[tuple[str, str]]) -> tuple[tuple[Load, ...], ...]:
        """As `related_loads` for each of these documents (digest, covers)."""

    async def visible_loads(self, source: str) -> tuple[Load, ...]:
        """All visible loads of a source, oldest first. For a stream, which has one for each received day."""

    async def open_loads(self, source: str) -> tuple[Load, ...]:
        """The visible loads of a source that are not closed, oldest first."""

    async def published_loads(self, load_ids: Iterable[int]) -> tuple[Load, ...]:
        """Those of these loads that are published, oldest first."""

    async def derived_loads(self, load_ids: Iterable[int]) -> tuple[Load, ...]:
        """The published loads that were computed from these, oldest first."""

    async def uncomputed_loads(self, transform: Transform) -> tuple[Load, ...]:
        """Closed visible loads of the transform's input from which its version has computed nothing, oldest first."""

    async def newest_seq(self, *states: LoadState) -> int | None:
        """The highest number of a publication, intended or written, of loads in these states or in any. 0 when none of
        them was intended yet; None when there is no such load.
        """

    async def derived_until(self, derivation: Derivation) -> int:
        """The publication up to which this version of the derivation has computed everything; 0 for nothing."""

    async def save_derived(self, derivation: Derivation, seq: int) -> None:
        """Record that this version of the derivation has computed everything up to that publication."""
