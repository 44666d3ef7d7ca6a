"""`/scorecard`: how each source keeps its calendar, and what publishers changed without a word, with values of before and
after.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from spotlightd.datasets.system import quiet_changes, scorecard
from spotlightd.query.select import Query
from spotlightd.sql.visibility import Snapshot, hot_rows
from spotlightd.web import responses
from spotlightd.web.routes import Route
from spotlightd.web.state import APP_STATE

ALARM_DAYS, LISTED_DAYS = 14, 90
MOST_CHANGES = 100


@dataclass(frozen=True, slots=True)
class Change:
    """What a publisher changed. It is an alarm for two weeks."""

    at: datetime
    source: str
    dataset: str
    covers: str
    kind: str
    column: str
    sentence: str
    now: tuple[str, ...]
    before: tuple[str, ...]
    document: str
    document_before: str

    @property
    def is_alarm(self) -> bool:
        return datetime.now(UTC) - self.at < timedelta(days=ALARM_DAYS)


def newest_cards(snapshot: Snapshot) -> Query:
    """The newest row of each source and dataset."""
    names = ", ".join(column.name for column in scorecard.columns)
    rows = hot_rows(scorecard, snapshot.archived)
    return Query(f"SELECT {names} FROM {rows} ORDER BY at DESC LIMIT 1 BY source, dataset")


def recent_changes(snapshot: Snapshot, days: int = LISTED_DAYS) -> Query:
    """The newest quiet changes, at most a hundred."""
    rows = hot_rows(quiet_changes, snapshot.archived)
    return Query(
        "SELECT at, source, dataset, covers, kind, column, says, now, before, document, document_before "
        f"FROM {rows} WHERE at >= {{changed_since:DateTime64(6, 'UTC')}} "
        f"ORDER BY at DESC, source, dataset, column LIMIT {MOST_CHANGES:d}",
        {"changed_since": f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%d %H:%M:%S}"},
    )


def make_change(row: Any) -> Change:
    """From a row of `recent_changes`."""
    at, source, dataset, covers, kind, column, sentence, now, before, document, document_before = row
    return Change(
        at, source, dataset, covers, kind, column, sentence, tuple(now), tuple(before), document, document_before
    )


async def show_scorecard(request: web.Request) -> web.StreamResponse:
    reader = responses.get_reader(request)
    snapshot = reader.current()
    cards, changed = await reader.together(newest_cards(snapshot), recent_changes(snapshot))
    names = [column.name for column in scorecard.columns]
    rows = [dict(zip(names, row, strict=True)) for row in sorted(cards.rows, key=lambda row: (row[1], row[2]))]
    changes = [make_change(row) for row in changed.rows]
    if request.path.endswith(".json"):
        return responses.json_response(request, {"cards": rows, "changes": [asdict(change) for change in changes]})
    titles = {source.name: source.title for source in request.app[APP_STATE].context.sources}
    return responses.render_page(
        request, "scorecard.html",
        {"cards": rows, "changes": changes, "titles": titles, "alarm_days": ALARM_DAYS, "listed_days": LISTED_DAYS},
    )  # fmt: skip


ROUTES = (Route("/scorecard", show_scorecard), Route("/scorecard.json", show_scorecard))
