"""The flow `scorecard`: judges each source after its publications, and keeps what it finds as rows.

A change is recorded once, with values of before and after. It is an alarm for two weeks: on `/status`, as a metric and in the
log. Nobody is asked whether the change is right: the rows are published all the same, because they are what was printed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from spotlightd.datasets.system import quiet_changes
from spotlightd.datasets.system import scorecard as cards
from spotlightd.errors import StoreError
from spotlightd.flows.gate import Gate
from spotlightd.flows.supervise import Reporter
from spotlightd.flows.upkeep.scorecard.calendar import WATCHED_DAYS, is_complete, judge, list_expected
from spotlightd.flows.upkeep.scorecard.profiles import Profile, read_profiles, select_profiles
from spotlightd.flows.upkeep.scorecard.rules import LEAST_ROWS, Change, compare_columns, compare_rows
from spotlightd.log import logger
from spotlightd.model.dataset import Dataset
from spotlightd.model.source import Batch
from spotlightd.model.text import count
from spotlightd.ports.metrics import Metrics
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.tiers import Archives

EVERY_SECONDS, FIRST_SECONDS = 300.0, 60.0
EARLIER, JUDGED = 20, 3
ALARM_DAYS, RESTATED_DAYS = 14, 90

_NEWEST = f"""SELECT dataset, load_id, covers, document, rows, rejects, published_at FROM loads
WHERE source = {{source:String}} AND derived_from = 0 AND load_id NOT IN (SELECT arrayJoin(supersedes) FROM loads)
ORDER BY dataset, covers DESC, seq DESC LIMIT {EARLIER + JUDGED} BY dataset, replaceRegexpAll(covers, '[0-9]', '#')"""
_FIRST_PUBLISHED = """SELECT covers, min(published_at) FROM loads
WHERE source = {source:String} AND derived_from = 0 AND covers >= {year:String} GROUP BY covers"""
_RESTATED = """SELECT uniqExact(new.load_id) FROM (
    SELECT dataset, load_id, covers, parser, document, arrayJoin(supersedes) AS replaced FROM loads
    WHERE source = {source:String} AND derived_from = 0 AND published_at >= {since:DateTime64(6, 'UTC')}
) AS new INNER JOIN (SELECT dataset, load_id, covers, parser, document FROM loads WHERE source = {source:String}) AS old
ON old.load_id = new.replaced AND old.dataset = new.dataset
WHERE old.covers = new.covers AND old.parser = new.parser AND old.document != new.document"""
_REFUSED = """SELECT count() FROM (SELECT argMax(outcome, id) AS last FROM runs
WHERE source = {source:String} AND covers != '' AND outcome != 'unchanged' GROUP BY url) WHERE last = 'refused'"""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A visible load of a dataset, by its document."""

    dataset: str
    load_id: int
    covers: str
    document: str
    rows: int
    rejects: int
    published_at: datetime

    @property
    def kind(self) -> str:
        """What it has in common with documents that it can be compared with."""
        return "".join("#" if character.isdigit() else character for character in self.covers)


@dataclass(slots=True)
class Scorecard:
    """Judges sources. It remembers the profiles of loads, and what was recorded."""

    warehouse: Warehouse
    archives: Archives
    sources: Sequence[Batch]
    metrics: Metrics
    gate: Gate = field(default_factory=Gate)
    judged_on: date | None = None
    profiles: dict[tuple[str, int], Profile] = field(default_factory=dict)
    written: dict[tuple[str, str], tuple[tuple[Any, ...], date]] = field(default_factory=dict)
    looked: tuple[int, date] = (-1, date.min)

    async def __call__(self, report: Reporter) -> None:
        """For ever; holds while a store fails. It begins when a start of the daemon is over, which has enough to read."""
        report.expect_beats(60.0 / (2 * EVERY_SECONDS))
        report.set_waiting("begins a minute after the start")
        await asyncio.sleep(FIRST_SECONDS)
        while True:
            try:
                changes = await self.check(report)
            except StoreError as problem:
                report.set_holding(str(problem))
                logger(flow=report.name).warning("store failed", error=str(problem))
            else:
                report.set_waiting(f"{count(changes, 'quiet change')} in the last {ALARM_DAYS} days")
            report.beat()
            await asyncio.sleep(EVERY_SECONDS)

    async def check(self, report: Reporter | None = None) -> int:
        """Judge all sources, if anything was published or a day has passed. Returns the number of alarms."""
        day = self.judged_on or datetime.now(UTC).date()
        sql, names = (
            "SELECT max(seq) FROM loads WHERE source IN {sources:Array(String)}",
            [source.name for source in self.sources],
        )
        newest = int((await self.warehouse.rows(sql, {"sources": names})).rows[0][0])
        if (newest, day) != self.looked:
            for position, source in enumerate(self.sources):
                if report:
                    await self.gate.wait_until_open("the sink", report, source.datasets)
                    report.set_working(source.name, position, len(self.sources))
                await self.judge_source(source, day)
            self.looked = newest, day
        return await self._count_alarms()

    async def judge_source(self, source: Batch, day: date) -> None:
        values = {
            "source": source.name,
            "since": f"{datetime.now(UTC) - timedelta(days=RESTATED_DAYS):%Y-%m-%d %H:%M:%S}",
            "year": f"{day - timedelta(days=2 * WATCHED_DAYS):%Y}",
        }
        published = dict((await self.warehouse.rows(_FIRST_PUBLISHED, values)).rows)
        punctuality = judge(list_expected(source, day), published, day)
        self.metrics.gauge("slices_missing", len(punctuality.missing), source=source.name)
        loads = [Loaded(*row) for row in (await self.warehouse.rows(_NEWEST, values)).rows]
        (restated,) = (await self.warehouse.rows(_RESTATED, values)).rows[0]
        (refused,) = (await self.warehouse.rows(_REFUSED, values)).rows[0]
        for dataset in source.datasets:
            own = [
                load
                for load in loads
                if load.dataset == dataset.name and is_complete(load.covers, load.published_at, day)
            ]
            changes = await self._find_changes(source, dataset, own)
            row = (
                source.name, dataset.name, punctuality.late, punctuality.late_days, punctuality.delay, punctuality.usual_delay,
                list(punctuality.missing), restated, refused, *_describe_newest(own),
                [change.column for change in changes if change.kind == "newly empty"],
                [change.column for change in changes if change.column and change.kind != "newly empty"],
            )  # fmt: skip
            await self._write_card(row, day)

    async def _write_card(self, row: tuple[Any, ...], day: date) -> None:
        key = row[0], row[1]
        if self.written.get(key) != (row, day):
            await self.warehouse.insert(cards, [(datetime.now(UTC), *row)])
            self.written[key] = row, day

    async def _find_changes(self, source: Batch, dataset: Dataset, loads: Sequence[Loaded]) -> list[Change]:
        """What is unlike before in the newest documents of each kind. New findings are recorded."""
        await self._read_profiles(dataset, loads)
        found = list[Change]()
        for kind in dict.fromkeys(load.kind for load in loads):
            same = [load for load in loads if load.kind == kind]
            for position in range(min(JUDGED, len(same) - 1)):
                newest, earlier = same[position], same[position + 1 : position + 1 + EARLIER]
                changes = self._compare(dataset, newest, earlier)
                await self._record(source, dataset, newest, earlier[0], changes)
                found += changes if position == 0 else ()
        return found

    def _compare(self, dataset: Dataset, newest: Loaded, earlier: Sequence[Loaded]) -> list[Change]:
        rows = compare_rows(newest.rows, [load.rows for load in earlier])
        known = [self.profiles[key] for load in earlier if (key := (dataset.name, load.load_id)) in self.profiles]
        profile = self.profiles.get((dataset.name, newest.load_id))
        columns = list(compare_columns(dataset, profile, known)) if profile else []
        return [*([rows] if rows else []), *columns]

    async def _read_profiles(self, dataset: Dataset, loads: Sequence[Loaded]) -> None:
        """Of the loads that are compared. Those that are no longer compared are forgotten."""
        wanted = {(dataset.name, load.load_id) for load in loads if load.rows >= LEAST_ROWS}
        for key in [key for key in self.profiles if key[0] == dataset.name and key not in wanted]:
            del self.profiles[key]
        if unknown := sorted(load_id for name, load_id in wanted if (name, load_id) not in self.profiles):
            sql = select_profiles(dataset, self.archives.archived)
            answer = await self.warehouse.rows(sql, {"loads": unknown})
            read = read_profiles(dataset, answer.rows)
            self.profiles |= {(dataset.name, load_id): profile for load_id, profile in read.items()}

    async def _record(
        self, source: Batch, dataset: Dataset, newest: Loaded, before: Loaded, changes: Sequence[Change]
    ) -> None:
        """Write changes that are not recorded yet."""
        if not changes:
            return
        sql = "SELECT kind, column FROM quiet_changes WHERE dataset = {dataset:String} AND load_id = {load:UInt64}"
        known = (await self.warehouse.rows(sql, {"dataset": dataset.name, "load": newest.load_id})).rows
        at = datetime.now(UTC)
        for change in changes:
            if (change.kind, change.column) in {tuple(row) for row in known}:
                continue
            samples = [self._sample(dataset, load, change.column) for load in (newest, before)]
            row = (at, source.name, dataset.name, newest.load_id, newest.covers, change.kind, change.column, change.sentence,
                   *samples, newest.document, before.document)  # fmt: skip
            await self.warehouse.insert(quiet_changes, [row])
            logger(flow="scorecard").warning(
                "quiet change", source=source.name, dataset=dataset.name, covers=newest.covers, column=change.column,
                detail=change.sentence,
            )  # fmt: skip

    def _sample(self, dataset: Dataset, load: Loaded, column: str) -> list[str]:
        profile = self.profiles.get((dataset.name, load.load_id))
        return list(profile.columns[column].sample) if profile and column else []

    async def _count_alarms(self) -> int:
        sql = "SELECT source, count() FROM quiet_changes WHERE at >= {since:DateTime64(6, 'UTC')} GROUP BY source"
        since = f"{datetime.now(UTC) - timedelta(days=ALARM_DAYS):%Y-%m-%d %H:%M:%S}"
        alarms = dict((await self.warehouse.rows(sql, {"since": since})).rows)
        for source in self.sources:
            self.metrics.gauge("quiet_changes", alarms.get(source.name, 0), source=source.name)
        return sum(alarms.values())


def _describe_newest(loads: Sequence[Loaded]) -> tuple[Any, ...]:
    """What the newest document covers, its rows, the fewest and most rows of its kind before it, its rejected lines."""
    if not loads:
        return "", 0, 0, 0, 0
    newest = max(loads, key=lambda load: (load.covers, load.load_id))
    earlier = [load.rows for load in loads if load.kind == newest.kind and load is not newest]
    return newest.covers, newest.rows, min(earlier, default=0), max(earlier, default=0), newest.rejects
