"""Takes raw documents to the bucket, and those that have been here long enough out of the folder: proven, always.

Nothing is remembered of it. What there should be stands in the ledger, what there is the folder and the bucket tell; so a
crash at any moment costs a repetition. A copy is made as soon as the document is here, and read back, all of it; and once
more right before the file is dropped. While anything is amiss with any document nothing is dropped.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from spotlightd.errors import StoreError
from spotlightd.flows.gate import Gate
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.model.bucket import DOCUMENTS, document_key
from spotlightd.model.document_tiers import DocumentTiers, Local, LocalDocuments, StoredDocument, Tally, tally
from spotlightd.model.partition import Check
from spotlightd.ports.ledger import ArchiveLedger, Ledger
from spotlightd.ports.storage import Bucket

RETRY_SECONDS = 60.0
LONGEST_SECONDS = 7_200.0  # one document, copied and read back twice, over a slow line


@dataclass(frozen=True, slots=True)
class Policy:
    """`hot_days` by source, of those whose documents leave the folder; `lost` are digests that nobody has any more."""

    hot_days: Mapping[str, int] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()
    every_seconds: float = 3_600.0

    def stays(self, owned: StoredDocument | None) -> timedelta | None:
        """How long a document stays in the folder; None when for ever. Of several sources the most patient decides."""
        days = [self.hot_days.get(source, 0) for source in owned.sources] if owned else []
        return timedelta(days=max(days)) if days and all(days) else None


@dataclass(slots=True)
class Found:
    """What a round found and did: `local` and `copied` by digest are kept up to date."""

    owned: Mapping[str, StoredDocument]
    local: dict[str, Local]
    copied: dict[str, int]
    amiss: dict[str, str] = field(default_factory=dict)
    sent: list[int] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)

    def wrong(self, lost: frozenset[str]) -> Iterator[tuple[str, str]]:
        """Documents that are nowhere, and those whose copies have not their length."""
        for digest in sorted(self.owned.keys() - lost):
            size, there = self.owned[digest].size, self.copied.get(digest)
            if there is None and digest not in self.local:
                yield digest, f"document {digest} is neither in the folder nor in the bucket"
            elif there is not None and there != size:
                yield digest, f"document {digest} has {there} of {size} bytes in the bucket"

    def keeping(self, at: datetime, hot_days: Mapping[str, int]) -> DocumentTiers:
        gone = self.owned.keys() - self.local.keys()
        alone = tally(size for digest, size in self.copied.items() if digest in gone)
        local = tally(one.size for one in self.local.values())
        return DocumentTiers(local, tally(self.copied.values()), alone, tuple(self.amiss.values()), at, hot_days)


class DocumentTiering:
    """The flow `documents`. Call it, or `round` once. `gate` is shut while a disk is too full."""

    def __init__(
        self,
        documents: LocalDocuments,
        bucket: Bucket,
        ledger: Ledger,
        kept: ArchiveLedger,
        policy: Policy,
        *,
        gate: Gate,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._documents, self._bucket, self._ledger, self._kept = documents, bucket, ledger, kept
        self._policy, self._gate, self._now, self._sleep = policy, gate, now, sleep
        self._suspects: frozenset[str] = frozenset()
        self._state = DocumentTiers(hot_days=policy.hot_days)

    def state(self) -> DocumentTiers:
        """As of the last round."""
        return self._state

    async def __call__(self, report: Reporter) -> None:
        """For ever; holds while a store fails."""
        report.expects(60.0 / (self._policy.every_seconds + LONGEST_SECONDS))
        failures = 0
        while True:
            try:
                found = await self.round(report)
            except StoreError as problem:
                report.holding(str(problem))
                logger(flow=report.name).warning("store failed", error=str(problem))
                failures += 1
            else:
                report.waiting(_says(found))
                failures = 0
            report.beat()
            await self._sleep(self._pause(failures) * random.uniform(0.8, 1.0))  # noqa: S311

    def _pause(self, failures: int) -> float:
        """After failures sooner than usual: a minute, then twice as long each time."""
        usual = self._policy.every_seconds
        return min(usual, RETRY_SECONDS * 2 ** min(failures - 1, 10)) if failures else usual

    async def round(self, report: Reporter) -> DocumentTiers:
        """Compare, copy what is new, drop what is due. StoreError when a store failed; what was done stays done."""
        found = await self._found()
        await self._look(found)
        for done, one in enumerate(sorted(found.local.values(), key=lambda each: each.at)):
            stays = self._policy.stays(found.owned.get(one.digest))
            if stays is not None and one.digest not in found.amiss:
                report.working("documents", done, len(found.local) + len(found.dropped))
                report.beat()
                await self._stow(found, one, due=self._now() - one.at >= stays)
        return await self._noted(found)

    async def _found(self) -> Found:
        """The ledger first: what it knows was in the folder before."""
        owned = await self._ledger.documents()
        local = {one.digest: one async for one in self._documents.local()}
        copied = dict[str, int]()
        if self._policy.hot_days or owned.keys() - local.keys() - self._policy.lost:
            async for one in self._bucket.list(DOCUMENTS):
                copied[one.key.rpartition("/")[2]] = one.size
        return Found(owned, local, copied)

    async def _look(self, found: Found) -> None:
        """What is amiss before anything is done: documents that are nowhere, and copies that were bad the last time."""
        found.amiss |= found.wrong(self._policy.lost)
        if found.amiss:
            logger().error("documents missing", documents=len(found.amiss), error=next(iter(found.amiss.values())))
        for digest in self._suspects & found.local.keys() & found.copied.keys():
            await self._see(found, found.local[digest], self._prove)

    async def _stow(self, found: Found, one: Local, *, due: bool) -> None:
        """Copy it, if it is not there; drop it, if it is due and nothing is amiss. A bucket on the same disk would double
        it: while that is full only what is dropped at once is copied.
        """
        if one.digest not in found.copied:
            if not due and self._gate.why("batch loads"):
                return
            if not await self._see(found, one, self._copy):
                return
            found.copied[one.digest] = one.size
            found.sent.append(one.size)
        if due and not found.amiss and await self._see(found, one, self._prove):
            await self._drop(found, one)

    async def _drop(self, found: Found, one: Local) -> None:
        if await self._documents.drop(one.digest):  # else somebody reads it: the next round does it
            del found.local[one.digest]
            found.dropped.append(one.size)

    async def _see(self, found: Found, one: Local, work: Callable[[Local], Awaitable[str]]) -> bool:
        """Whether it went well. What is wrong with one document does not hold up the others; a bucket that is away does."""
        try:
            wrong = await work(one)
        except StoreError as problem:
            await self._bucket.ping()
            wrong = str(problem)
        if wrong:
            found.amiss[one.digest] = f"document {one.digest}: {wrong}"
            logger().error("document copy damaged", digest=one.digest, error=wrong)
        return not wrong

    async def _copy(self, one: Local) -> str:
        async with self._documents.file(one.digest) as path:
            await self._bucket.put(document_key(one.digest), path, one.digest)
        return await self._prove(one)

    async def _prove(self, one: Local) -> str:
        """What is wrong with the copy, all of it read back; empty when its bytes are those of the document."""
        key, seen, size = document_key(one.digest), hashlib.sha256(), 0
        there = await self._bucket.head(key)
        if there is None:
            return "its copy is not in the bucket any more"
        try:
            async for piece in self._bucket.read(key):
                await asyncio.to_thread(seen.update, piece)
                size += len(piece)
        except StoreError:
            if size < there.size:  # else it came to its end, and the store says itself that it is damaged
                raise
        if seen.hexdigest() == one.digest:
            return ""
        return (
            f"its copy in the bucket is damaged: nothing is dropped; delete {key} there by hand, and it is copied again"
        )

    async def _noted(self, found: Found) -> DocumentTiers:
        self._suspects = frozenset(found.amiss)
        self._state = found.keeping(self._now(), self._policy.hot_days)
        await self._kept.note("documents", Check(self._now(), not found.amiss, _says(self._state)))
        if found.sent:
            logger().info("documents copied", documents=len(found.sent), bytes=sum(found.sent))
        if found.dropped:
            logger().info("documents dropped", documents=len(found.dropped), bytes=sum(found.dropped))
        return self._state


def _says(found: DocumentTiers) -> str:
    if found.amiss:
        return f"{len(found.amiss)} amiss, nothing is dropped: {found.amiss[0]}"
    return f"{_told(found.local)} in the folder, {_told(found.alone)} in the bucket alone: all are there"


def _told(some: Tally) -> str:
    return f"{some.documents:,} documents ({some.bytes:,} bytes)"
