"""`/status`: what is late, what went wrong, and the state of sources, feeds, disks, archive and flows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any

from aiohttp import web

from spotlightd.errors import StoreError
from spotlightd.model.source import Batch
from spotlightd.query import records
from spotlightd.query.errors import HttpProblem
from spotlightd.web import feeds, responses
from spotlightd.web.pages import archive, disk, scorecard
from spotlightd.web.routes import Nav, Route
from spotlightd.web.state import APP_STATE, DaemonState, ExplorerContext

FAILURES = 25


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One source: what it has, what it should have by today, and the result of its last run.

    `due` is the newest slice that should be here, `next` the one after it. `checked_at` is the time of the last run.
    `refused` documents are stored and not loaded; `refusal` is the newest reason.
    """

    name: str
    title: str
    home: str
    datasets: tuple[str, ...]
    suspended: str
    published_at: datetime | None
    newest: str
    loads: int
    due: str
    due_on: date | None
    late: bool
    next: str
    next_on: date | None
    checked_at: datetime | None
    last_outcome: str
    last_error: str
    refused: int = 0
    refusal: str = ""

    @property
    def has_failed(self) -> bool:
        return self.last_outcome in records.FAILED_OUTCOMES


@dataclass(frozen=True, slots=True)
class StatusRecords:
    """What the warehouse's records say; nothing while it does not answer."""

    sources: Sequence[SourceStatus] = ()
    failures: Sequence[dict[str, Any]] = ()
    changes: Sequence[scorecard.Change] = ()


async def show_status(request: web.Request) -> web.StreamResponse:
    """Also without the warehouse, because that is when people come here: then with what the daemon itself knows."""
    context = request.app[APP_STATE].context
    state, error = context.state(), ""
    found = StatusRecords()
    try:
        found = await _read_records(request)
    except (StoreError, HttpProblem) as problem:
        error = f"the warehouse cannot answer: {problem}"
        state = replace(state, problems=(*state.problems, error))
    if request.path.endswith(".json"):
        return responses.json_response(request, _to_json(context, state, found, error))
    return responses.render_page(request, "status.html", {
        "sources": found.sources, "failures": found.failures, "changes": found.changes, "state": state, "day": context.day,
        "has_fixed_day": context.judged_on is not None, "error": error,
        "has_streams": bool(context.streams or state.feeds),
        "feeds": feeds.list_feeds(state, feeds.stream_titles(context)), "drains": feeds.list_drains(state),
        "disks": context.disks(), "tags": disk.TAGS, "archive": archive.summarize(context.archive()),
        "failed_outcomes": ",".join(records.FAILED_OUTCOMES),
    })  # fmt: skip


def _to_json(context: ExplorerContext, state: DaemonState, found: StatusRecords, error: str) -> dict[str, Any]:
    return {
        "sources": [asdict(source) for source in found.sources], "failures": found.failures,
        "quiet_changes": [asdict(change) for change in found.changes], "state": asdict(state),
        "day": context.day, "has_fixed_day": context.judged_on is not None, "error": error,
        "streams": bool(context.streams or state.feeds),
        "feeds": feeds.feeds_to_json(feeds.list_feeds(state, {})),
        "drains": feeds.drains_to_json(feeds.list_drains(state)),
        "disks": disk.disk_to_json(context.disks()), "archive": archive.archive_to_json(context.archive()),
    }  # fmt: skip


async def _read_records(request: web.Request) -> StatusRecords:
    """The sources, the newest failures and the alarms about quiet changes, from the warehouse's records."""
    context = request.app[APP_STATE].context
    reader = responses.get_reader(request)
    due = {source.name: source.expected(context.day).covers for source in context.sources if not source.suspended}
    publications, runs, failures, refusals, changes = await reader.together(
        records.publications_by_source(due),
        records.last_runs(reader.current()),
        records.failed_runs(FAILURES, reader.current()),
        records.refused_documents(reader.current()),
        scorecard.recent_changes(reader.current(), scorecard.ALARM_DAYS),
    )
    published = {row[0]: row[1:] for row in publications.rows}
    last_runs = {row[0]: row[1:] for row in runs.rows}
    refused = {row[0]: row[1:] for row in refusals.rows}
    sources = [
        _make_status(
            source, published.get(source.name), last_runs.get(source.name), refused.get(source.name), context.day
        )
        for source in context.sources
    ]
    return StatusRecords(sources, failures.dicts(), [scorecard.make_change(row) for row in changes.rows])


def _make_status(source: Batch, published: Any, last_run: Any, refused: Any, day: date) -> SourceStatus:
    published_at, newest, loads, is_due_published = published or (None, "", 0, False)
    checked_at, outcome, error = last_run or (None, "", "")
    refused_documents, refusal = refused or (0, "")
    due, coming = (None, None) if source.suspended else (source.expected(day), source.next_due(day))
    return SourceStatus(
        name=source.name,
        title=source.title,
        home=source.home,
        datasets=tuple(dataset.name for dataset in source.datasets),
        suspended=source.suspended,
        published_at=published_at,
        newest=newest,
        loads=loads,
        due=due.covers if due else "",
        due_on=due.due if due else None,
        late=due is not None and not is_due_published,
        next=coming.covers if coming else "",
        next_on=coming.due if coming else None,
        checked_at=checked_at,
        last_outcome=outcome,
        last_error=error,
        refused=refused_documents,
        refusal=refusal,
    )


ROUTES = (Route("/status", show_status), Route("/status.json", show_status))
NAV = Nav("Status", "/status", 30, keeps_as_of=True)
