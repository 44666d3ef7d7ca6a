"""Which fetched documents are loaded together: those that are ready at the same time and do not concern one another.

A group never waits for more documents: it is what has been fetched while the group before it was loaded. So one document
alone is loaded at once, and of thousands a hundred share the cost of each step.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from spotlightd.errors import StoreError
from spotlightd.flows.batch.fetch import Fetched
from spotlightd.model.source import list_wholes

GROUP_DOCUMENTS = 100
GROUP_BYTES = 64 << 20


@dataclass(slots=True)
class _Group:
    documents: list[Fetched] = field(default_factory=list)
    _size: int = 0
    _digests: set[str] = field(default_factory=set)
    _slices: set[str] = field(default_factory=set)
    _wholes: set[str] = field(default_factory=set)

    def takes(self, fetched: Fetched) -> bool:
        """Whether the document fits. Of two that have the same bytes, or of which one covers the other, one depends on the
        other, so they are never in one group.
        """
        has_room = len(self.documents) < GROUP_DOCUMENTS and self._size + fetched.document.size <= GROUP_BYTES
        is_alone = not self.documents
        covers = fetched.attempt.link.covers
        overlaps = covers in self._wholes or bool(self._slices.intersection(list_wholes(covers)))
        return is_alone or (has_room and not overlaps and fetched.document.digest not in self._digests)

    def add(self, fetched: Fetched) -> None:
        self.documents.append(fetched)
        self._size += fetched.document.size
        self._digests.add(fetched.document.digest)
        self._slices.add(fetched.attempt.link.covers)
        self._wholes.update(list_wholes(fetched.attempt.link.covers))


class Waiting:
    """Fetched documents in their order: at most so many wait as one group can have."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Fetched | StoreError | None] = asyncio.Queue(GROUP_DOCUMENTS)
        self._next: Fetched | StoreError | None = None
        self._has_next = False

    async def put(self, fetched: Fetched) -> None:
        """Add a document. Waits while there is no room."""
        await self._queue.put(fetched)

    async def end(self, problem: StoreError | None = None) -> None:
        """No document comes any more, because all are there or because a store failed."""
        await self._queue.put(problem)

    async def take_group(self) -> list[Fetched]:
        """The documents that are ready now and fit together; waits for the first of them only. Empty after the last one; the
        problem that ended the fetching is raised then.
        """
        group = _Group()
        while True:
            item = self._next if self._has_next else await self._queue.get()
            self._has_next = False
            if isinstance(item, Fetched) and group.takes(item):
                group.add(item)
                if self._queue.empty():
                    return group.documents
                continue
            self._next, self._has_next = item, True
            if not group.documents and isinstance(item, StoreError):
                raise item
            return group.documents
