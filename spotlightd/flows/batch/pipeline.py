"""Fetches the documents of a source one after the other, and loads meanwhile those that are there, in groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from spotlightd.errors import PublisherError, StoreError
from spotlightd.flows.batch.fetch import (
    Attempt,
    Fetched,
    begin_attempt,
    fetch_document,
    is_missing,
    make_run,
    mark_checked,
    mark_failed,
)
from spotlightd.flows.batch.groups import Waiting
from spotlightd.flows.batch.laps import Lap
from spotlightd.flows.batch.pauses import repeat_after_pauses
from spotlightd.flows.loads.context import Candidate, IngestContext, IngestResult
from spotlightd.flows.loads.load import load_documents
from spotlightd.log import log_context, logger
from spotlightd.model.provenance import Run
from spotlightd.model.source import Batch, Link
from spotlightd.ports.ledger import KnownAddress
from spotlightd.ports.progress import Checkpoint
from spotlightd.ports.publisher import Publisher
from spotlightd.tasks import run_together

NOT_LOADED: dict[str, str] = {"unchanged": "document unchanged", "covered": "document covered"}


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One pass over some links, those that are reached before the lap is over. Fetching and loading run at the same time.
    `results` has one for each document that has its outcome, by address.
    """

    source: Batch
    publisher: Publisher
    context: IngestContext
    links: Sequence[Link]
    known: Mapping[str, KnownAddress]
    checkpoint: Checkpoint
    lap: Lap = field(default_factory=Lap)
    waiting: Waiting = field(default_factory=Waiting)
    results: dict[str, IngestResult] = field(default_factory=dict)

    async def run(self) -> list[IngestResult]:
        """The results in the order of the links. StoreError when a store fails; what was fetched before is loaded first."""
        await run_together({"fetch": self._fetch_all(), "load": self._load_all()}, prefix=f"{self.source.name} ")
        return [self.results[link.url] for link in self.links if link.url in self.results]

    async def _fetch_all(self) -> None:
        problem: StoreError | None = None
        try:
            for link in self.links:
                await self._report(link)
                await self._fetch(begin_attempt(link, self.known.get(link.url)))
                if self.lap.is_over(self.context.clock.now()):
                    break
        except StoreError as failure:
            problem = failure
        await self.waiting.end(problem)

    async def _report(self, link: Link) -> None:
        await self.checkpoint(link.covers, len(self.results), len(self.links))

    async def _fetch(self, attempt: Attempt) -> None:
        """Fetch the document and let it wait for its load, or record why it cannot be fetched."""
        with log_context(run=attempt.run):
            try:
                fetched = await self._fetch_after_pauses(attempt)
            except PublisherError as problem:
                self.lap.count(is_failure=problem.outcome in {"failed", "wrong body"})
                await self._record_failure(attempt, problem)
                return
        self.lap.count(is_failure=False)
        await self.waiting.put(fetched)

    async def _fetch_after_pauses(self, attempt: Attempt) -> Fetched:
        async def beat(sentence: str) -> None:
            await self.checkpoint(f"{attempt.link.covers}: {sentence}", len(self.results), len(self.links))

        return await repeat_after_pauses(
            lambda: fetch_document(self.source, self.publisher, self.context, attempt),
            self.context.clock, self.source.name, beat,
        )  # fmt: skip

    async def _record_failure(self, attempt: Attempt, problem: PublisherError) -> None:
        link, error = attempt.link, str(problem)
        log = logger(source=self.source.name, covers=link.covers, url=link.url)
        if is_missing(link, problem):
            log.info("document not found", reason=error)
        else:
            log.warning("document not found" if problem.outcome == "absent" else "document failed", error=error)
        run = make_run(self.source, link.url, link.covers, problem.outcome, attempt.started, error=error)
        marked = mark_failed(attempt, problem, datetime.now(UTC))
        await self.context.ledger.record_outcomes([(marked, run)])
        self._finish(IngestResult(link, problem.outcome, error="" if is_missing(link, problem) else error))

    async def _load_all(self) -> None:
        try:
            while group := await self.waiting.take_group():
                await self._report(group[0].attempt.link)
                await self._load_group(group)
                await self._report(group[-1].attempt.link)
        except StoreError as problem:
            logger(source=self.source.name).error("store failed", error=str(problem))
            raise

    async def _load_group(self, group: Sequence[Fetched]) -> None:
        """Load what is new among these documents, and record the outcomes of all."""
        new = [Candidate(fetched.attempt.link, fetched.document) for fetched in group if not fetched.is_judged]
        with log_context(run=group[0].attempt.run):
            loaded = iter(await load_documents(self.source, self.context, new) if new else ())
        results = [IngestResult(item.attempt.link, "unchanged") if item.is_judged else next(loaded) for item in group]
        await self.context.ledger.record_outcomes(
            [
                (mark_checked(self.source, fetched, result), self._make_run(fetched, result))
                for fetched, result in zip(group, results, strict=True)
            ]
        )
        for fetched, result in zip(group, results, strict=True):
            self._log(fetched, result)
            self._finish(result)

    def _make_run(self, fetched: Fetched, result: IngestResult) -> Run:
        link, started = result.link, fetched.attempt.started
        return make_run(
            self.source, link.url, link.covers, result.outcome, started, document=fetched.document, result=result,
            error=result.error,
        )  # fmt: skip

    def _log(self, fetched: Fetched, result: IngestResult) -> None:
        link = result.link
        log = logger(source=self.source.name, covers=link.covers, url=link.url, run=fetched.attempt.run)
        event = NOT_LOADED.get(result.outcome, "document stored")
        if result.outcome == "refused":
            log.warning("document refused", error=result.error)
        else:
            log.info(event, rows=result.rows)

    def _finish(self, result: IngestResult) -> None:
        if self.context.metrics:
            self.context.metrics.count("documents_total", source=self.source.name, outcome=result.outcome)
            self.context.metrics.count("rows_published_total", result.rows, source=self.source.name)
        self.results[result.link.url] = result
