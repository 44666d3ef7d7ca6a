"""Copies raw documents to the bucket, and removes old ones from the folder once their copies are proven.

This flow keeps no state of its own. The ledger says which documents there should be; the folder and the bucket say which
there are. So a crash at any moment costs only a repetition. A document is copied as soon as it is in the folder, and the
whole copy is read back. It is read back once more right before the file is dropped. While anything is wrong with any
document, nothing is dropped.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from spotlightd.backoff import Backoff, Clock
from spotlightd.errors import StoreError
from spotlightd.flows.gate import Gate
from spotlightd.flows.supervise import Reporter
from spotlightd.flows.upkeep.retention import report_shortened, update_rules
from spotlightd.log import logger
from spotlightd.model.bucket import DOCUMENT_PREFIX, document_key
from spotlightd.model.document_tiers import DocumentTiers, LocalDocument, StoredDocument, Tally, tally
from spotlightd.model.partition import DOCUMENTS, Check, RetentionRule
from spotlightd.model.text import count
from spotlightd.ports.ledger import ArchiveLedger, Ledger
from spotlightd.ports.storage import Bucket, LocalDocuments

RETRY_SECONDS = 60.0
JITTER = 0.2
LONGEST_SECONDS = 7_200.0  # one document, copied and read back twice, over a slow line


@dataclass(frozen=True, slots=True)
class TieringPolicy:
    """`hot_days` by source; 0 is permanently. `lost` are digests whose bytes are lost."""

    hot_days: Mapping[str, int] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()
    every_seconds: float = 3_600.0

    @property
    def leaving(self) -> Mapping[str, int]:
        """The days of the sources whose documents leave the folder."""
        return {source: days for source, days in self.hot_days.items() if days}

    def retention(self, stored: StoredDocument | None) -> timedelta | None:
        """How long a document stays in the folder; None means permanently. Of several sources the longest time counts."""
        days = [self.hot_days.get(source, 0) for source in stored.sources] if stored else []
        return timedelta(days=max(days)) if days and all(days) else None


@dataclass(slots=True)
class Inventory:
    """What a round finds and does. `local` and `copied`, by digest, are kept up to date; `errors` are by digest too.

    There may be a million documents: what looks at all of them runs in a thread, beside the event loop.
    """

    stored: Mapping[str, StoredDocument]
    local: dict[str, LocalDocument]
    copied: dict[str, int]
    errors: dict[str, str] = field(default_factory=dict)
    sent: list[int] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)

    def list_leaving(self, policy: TieringPolicy, now: datetime) -> list[tuple[LocalDocument, bool]]:
        """The documents to copy or drop, oldest first, and whether each is due to leave the folder."""
        leaving = []
        for document in sorted(self.local.values(), key=lambda local: local.at):
            retention = policy.retention(self.stored.get(document.digest))
            if retention is None:
                continue
            is_due = now - document.at >= retention
            if is_due or document.digest not in self.copied:
                leaving.append((document, is_due))
        return leaving

    def find_errors(self, lost: frozenset[str]) -> Iterator[tuple[str, str]]:
        """Documents that are nowhere, and documents whose copy has another length."""
        for digest in sorted(self.stored.keys() - lost):
            size, copied = self.stored[digest].size, self.copied.get(digest)
            if copied is None and digest not in self.local:
                yield digest, f"document {digest} is neither in the folder nor in the bucket"
            elif copied is not None and copied != size:
                yield digest, f"document {digest} has {copied} of {size} bytes in the bucket"

    def to_tiers(self, at: datetime, hot_days: Mapping[str, int]) -> DocumentTiers:
        bucket_only = self.stored.keys() - self.local.keys()
        bucket_only_tally = tally(size for digest, size in self.copied.items() if digest in bucket_only)
        local = tally(document.size for document in self.local.values())
        return DocumentTiers(
            local, tally(self.copied.values()), bucket_only_tally, tuple(self.errors.values()), at, hot_days
        )


class DocumentTiering:
    """The flow `documents`. Call it, or `run_round` once. `gate` holds the work while a disk is too full."""

    def __init__(
        self,
        documents: LocalDocuments,
        bucket: Bucket,
        ledger: Ledger,
        archive_ledger: ArchiveLedger,
        policy: TieringPolicy,
        *,
        gate: Gate,
        clock: Clock | None = None,
    ) -> None:
        self._documents, self._bucket, self._ledger, self._archive_ledger = documents, bucket, ledger, archive_ledger
        self._configured = self._policy = policy
        self._gate, self._clock = gate, clock or Clock()
        self._round_pause = Backoff(policy.every_seconds, policy.every_seconds, JITTER)
        self._retry_pause = Backoff(RETRY_SECONDS, policy.every_seconds, JITTER)
        self._suspects: frozenset[str] = frozenset()
        self._state = DocumentTiers(hot_days=policy.leaving)
        self._reported = set[RetentionRule]()

    def state(self) -> DocumentTiers:
        """The result of the last round."""
        return self._state

    async def __call__(self, report: Reporter) -> None:
        """For ever; holds while a store fails."""
        report.expect_beats(60.0 / (self._policy.every_seconds + LONGEST_SECONDS))
        failures = 0
        while True:
            try:
                tiers = await self.run_round(report)
            except StoreError as problem:
                report.set_holding(str(problem))
                logger(flow=report.name).warning("store failed", error=str(problem))
                failures += 1
            else:
                report.set_waiting(_summarize(tiers))
                failures = 0
            report.beat()
            backoff = self._retry_pause if failures else self._round_pause
            await self._clock.sleep(backoff.pause(max(failures, 1), self._clock.chance))

    async def run_round(self, report: Reporter) -> DocumentTiers:
        """Compare, copy what is new, drop what is due. After a StoreError, what was done stays done."""
        rules = await self.update_retention()
        inventory = await self._take_inventory()
        await self._check(inventory)
        leaving = await asyncio.to_thread(inventory.list_leaving, self._policy, self._clock.utc())
        for done, (document, is_due) in enumerate(leaving):
            if document.digest not in inventory.errors:
                report.set_working("documents", done, len(leaving))
                report.beat()
                await self._tier(inventory, document, is_due=is_due)
        shortened = await report_shortened(rules, self._reported, partial(self._describe_leaving, inventory))
        return await self._save_result(inventory, shortened)

    async def update_retention(self) -> Mapping[str, RetentionRule]:
        """Find out how long documents stay in the folder now. A rule that became shorter waits for a day. Called before any
        document is stored, too: what a new state begins with was never longer.
        """
        configured = {f"{DOCUMENTS}{source}": days for source, days in self._configured.hot_days.items()}
        rules = await update_rules(self._archive_ledger, configured, self._clock.utc(), self._find_filled)
        hot_days = {name.removeprefix(DOCUMENTS): rule.days for name, rule in rules.items()}
        self._policy = replace(self._configured, hot_days=hot_days)
        return rules

    async def _find_filled(self) -> frozenset[str]:
        """The rules of sources that have documents."""
        stored = await self._ledger.documents()
        return frozenset(f"{DOCUMENTS}{source}" for document in stored.values() for source in document.sources)

    async def _describe_leaving(self, inventory: Inventory, rule: RetentionRule) -> str:
        """What would leave the folder under the shorter rule."""
        source, now = rule.name.removeprefix(DOCUMENTS), self._clock.utc()
        own = {digest for digest, stored in inventory.stored.items() if source in stored.sources}
        old = [local for local in inventory.local.values() if now - local.at >= timedelta(days=rule.configured)]
        leaving = _format(tally(local.size for local in old if local.digest in own))
        return f"the folder's oldest, {leaving}, are then only in the bucket"

    async def _take_inventory(self) -> Inventory:
        """The ledger is read first: a document that it knows was in the folder before."""
        stored = await self._ledger.documents()
        local = {document.digest: document async for document in self._documents.local()}
        copied = dict[str, int]()
        if self._policy.leaving or stored.keys() - local.keys() - self._policy.lost:
            async for copy in self._bucket.list(DOCUMENT_PREFIX):
                copied[copy.key.rpartition("/")[2]] = copy.size
        return Inventory(stored, local, copied)

    async def _check(self, inventory: Inventory) -> None:
        """Find what is wrong before anything is done: missing documents, and copies that were damaged the last time."""
        errors = inventory.errors
        errors |= await asyncio.to_thread(lambda: dict(inventory.find_errors(self._policy.lost)))
        if errors:
            logger().error("documents missing", documents=len(errors), error=next(iter(errors.values())))
        for digest in self._suspects & inventory.local.keys() & inventory.copied.keys():
            await self._run_step(inventory, inventory.local[digest], self._prove)

    async def _tier(self, inventory: Inventory, document: LocalDocument, *, is_due: bool) -> None:
        """Copy the document if it has no copy; drop it if it is due and nothing is wrong. While the disk is full, only
        documents that are dropped at once are copied: a bucket on the same disk would hold them twice.
        """
        if document.digest not in inventory.copied:
            if not is_due and self._gate.hold_reason("batch loads"):
                return
            if not await self._run_step(inventory, document, self._copy):
                return
            inventory.copied[document.digest] = document.size
            inventory.sent.append(document.size)
        if is_due and not inventory.errors and await self._run_step(inventory, document, self._prove):
            await self._drop(inventory, document)

    async def _drop(self, inventory: Inventory, document: LocalDocument) -> None:
        if await self._documents.drop(document.digest):  # else it is being read, and the next round drops it
            del inventory.local[document.digest]
            inventory.dropped.append(document.size)

    async def _run_step(
        self, inventory: Inventory, document: LocalDocument, step: Callable[[LocalDocument], Awaitable[str]]
    ) -> bool:
        """Whether the step succeeded. An error of one document does not stop the others; a bucket that is down does."""
        try:
            error = await step(document)
        except StoreError as problem:
            await self._bucket.ping()
            error = str(problem)
        if error:
            inventory.errors[document.digest] = f"document {document.digest}: {error}"
            logger().error("document copy damaged", digest=document.digest, error=error)
        return not error

    async def _copy(self, document: LocalDocument) -> str:
        async with self._documents.file(document.digest) as path:
            await self._bucket.put(document_key(document.digest), path, document.digest)
        return await self._prove(document)

    async def _prove(self, document: LocalDocument) -> str:
        """Read back the whole copy. Returns what is wrong with it; empty when its bytes are those of the document."""
        key, digest, size = document_key(document.digest), hashlib.sha256(), 0
        copy = await self._bucket.head(key)
        if copy is None:
            return "its copy is not in the bucket any more"
        try:
            async for piece in self._bucket.read(key):
                await asyncio.to_thread(digest.update, piece)
                size += len(piece)
        except StoreError:
            if size < copy.size:  # else all of it was read, and the store itself reports the damage
                raise
        if digest.hexdigest() == document.digest:
            return ""
        return (
            f"its copy in the bucket is damaged: nothing is dropped; delete {key} there by hand, and it is copied again"
        )

    async def _save_result(self, inventory: Inventory, shortened: tuple[str, ...]) -> DocumentTiers:
        now = self._clock.utc()
        self._suspects = frozenset(inventory.errors)
        tiers = await asyncio.to_thread(inventory.to_tiers, now, self._policy.leaving)
        self._state = replace(tiers, shortened=shortened)
        check = Check(now, not inventory.errors, _summarize(self._state))
        await self._archive_ledger.save_check("documents", check)
        if inventory.sent:
            logger().info("documents copied", documents=len(inventory.sent), bytes=sum(inventory.sent))
        if inventory.dropped:
            logger().info("documents dropped", documents=len(inventory.dropped), bytes=sum(inventory.dropped))
        return self._state


def _summarize(tiers: DocumentTiers) -> str:
    if tiers.problems:
        defects = count(len(tiers.problems), "document is", "documents are")
        return f"{defects} missing or damaged; nothing is dropped: {tiers.problems[0]}"
    return f"{_format(tiers.local)} in the folder, {_format(tiers.bucket_only)} in the bucket alone: all are there"


def _format(documents: Tally) -> str:
    return f"{count(documents.documents, 'document')} ({count(documents.bytes, 'byte')})"
