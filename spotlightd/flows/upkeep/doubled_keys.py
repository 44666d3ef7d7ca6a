"""The flow `keys`: finds keys that are in two visible documents although a dataset allows one.

No document that brings such a key is published. But an older version, a lost ledger or a restored state may have left
some, and a page that adds rows up would show a doubled balance without a word. So they are looked for at the start, and
after publications on the days of the new rows.

A look costs little: it reads the days and loads of the rows, two columns. Keys are compared only of loads whose days
overlap, one month after the other, so the memory that it takes does not grow with the history.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from spotlightd.errors import StoreError
from spotlightd.flows.gate import Gate
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.model.dataset import Dataset
from spotlightd.model.source import Period
from spotlightd.model.text import count
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.days import EPOCH_DAY, days_condition, days_span, days_values
from spotlightd.sql.tiers import EVER, Archives
from spotlightd.sql.visibility import all_rows, hot_rows, visible_condition

EVERY_SECONDS = 60.0
LONGEST_SECONDS = 600.0  # the first look at a dataset of many overlapping documents
NEWEST = 2**63
"""A `seq` after every publication."""


@dataclass(frozen=True, slots=True)
class Doubled:
    """Keys that two loads have. `example` is one of them, in words."""

    keys: int
    example: str
    loads: tuple[int, ...]


class DoubledKeys:
    """Looks for doubled keys, and remembers up to which publication each dataset was looked at."""

    def __init__(self, warehouse: Warehouse, archives: Archives, datasets: Sequence[Dataset], gate: Gate) -> None:
        self._warehouse, self._archives, self._gate = warehouse, archives, gate
        self._datasets = [dataset for dataset in datasets if not (dataset.key_may_repeat or dataset.repeats_within)]
        self._looked: dict[str, int] = {}
        self._found: dict[str, str] = {}

    @property
    def sentences(self) -> Mapping[str, str]:
        """A sentence for each dataset with doubled keys, as of the last look."""
        return self._found

    async def __call__(self, report: Reporter) -> None:
        """For ever."""
        report.expect_beats(60.0 / LONGEST_SECONDS)
        while True:
            try:
                await self.check()
            except StoreError as problem:
                report.set_holding(str(problem))
            else:
                self._report(report)
            report.beat()
            await asyncio.sleep(EVERY_SECONDS)

    async def check(self) -> None:
        """Look at each dataset that has publications since the last look. StoreError while a store does not answer."""
        rows = (await self._warehouse.rows("SELECT dataset, max(seq) FROM loads GROUP BY dataset")).rows
        newest = dict(rows)
        for dataset in self._datasets:
            seq, looked = newest.get(dataset.name, 0), self._looked.get(dataset.name, 0)
            if seq == looked or self._gate.table_reason((dataset,)):
                continue
            since = looked if looked < seq and dataset.name not in self._found else 0
            self._note(dataset, await self._look(dataset, since))
            self._looked[dataset.name] = seq

    def _note(self, dataset: Dataset, sentence: str) -> None:
        if sentence and sentence != self._found.get(dataset.name):
            logger(flow="keys").error("keys doubled", dataset=dataset.name, detail=sentence)
        self._found = {name: known for name, known in self._found.items() if name != dataset.name}
        if sentence:
            self._found[dataset.name] = sentence

    def _report(self, report: Reporter) -> None:
        if self._found:
            report.set_holding("; ".join(self._found.values()))
        else:
            report.set_waiting("no key is in two documents that may be in one only")

    async def _look(self, dataset: Dataset, since: int) -> str:
        """What is doubled, as a sentence; on the days of what was published after `since`, or on all days."""
        period = await self._find_new_days(dataset, since) if since else None
        if since and period is None:
            return ""
        doubled = list[Doubled]()
        for month, loads in list_suspects(await self._read_spans(dataset, period)):
            if found := await self._compare(dataset, month, loads):
                doubled.append(found)
        return await self._describe(dataset, doubled) if doubled else ""

    async def _find_new_days(self, dataset: Dataset, since: int) -> Period | None:
        """The days of the rows of newer publications; None when they have none."""
        sql = (
            f"SELECT {_day(dataset, 'min')}, {_day(dataset, 'max')}, count()"
            f" FROM {hot_rows(dataset, self._archives.archived)}"
            f" WHERE load_id IN (SELECT load_id FROM loads WHERE dataset = '{dataset.name}' AND seq > {{since:UInt64}})"
        )
        first, last, rows = (await self._warehouse.rows(sql, {"since": since})).rows[0]
        return _period(first, last) if rows else None

    async def _read_spans(self, dataset: Dataset, period: Period | None) -> dict[int, Period]:
        """The first and the last day of each visible load."""
        span = days_span(dataset, period.first, period.last) if period else EVER
        on_days = f" AND {days_condition(dataset)}" if period else ""
        sql = (
            f"SELECT load_id, {_day(dataset, 'min')}, {_day(dataset, 'max')}"
            f" FROM {all_rows(dataset, self._archives.archived, span)}"
            f" WHERE {visible_condition(dataset)}{on_days} GROUP BY load_id"
        )
        days = days_values(dataset, period.first, period.last) if period else {}
        answer = await self._warehouse.rows(sql, {**days, "seq": NEWEST})
        return {load_id: _period(first, last) for load_id, first, last in answer.rows}

    async def _compare(self, dataset: Dataset, days: Period, loads: Sequence[int]) -> Doubled | None:
        key = ", ".join(f"`{name}`" for name in dataset.key)
        texts = ", ".join(f"toString(`{name}`)" for name in dataset.key)
        sql = (
            "SELECT count(), min(example), argMin(loads, example) FROM ("
            f"SELECT [{texts}] AS example, arraySort(groupUniqArray(load_id)) AS loads"
            f" FROM {all_rows(dataset, self._archives.archived, days_span(dataset, days.first, days.last))}"
            f" WHERE {days_condition(dataset)} AND load_id IN {{loads:Array(UInt64)}}"
            f" GROUP BY {key} HAVING min(load_id) <> max(load_id))"
        )
        values = {**days_values(dataset, days.first, days.last), "loads": list(loads)}
        keys, example, of_loads = (await self._warehouse.rows(sql, values)).rows[0]
        words = ", ".join(f"{name} {value}" for name, value in zip(dataset.key, example, strict=False))
        return Doubled(keys, words, tuple(of_loads)) if keys else None

    async def _describe(self, dataset: Dataset, doubled: Sequence[Doubled]) -> str:
        first, keys = doubled[0], sum(item.keys for item in doubled)
        sql = "SELECT DISTINCT source, covers FROM loads WHERE load_id IN {loads:Array(UInt64)} ORDER BY load_id"
        rows = (await self._warehouse.rows(sql, {"loads": list(first.loads)})).rows
        documents = " and ".join(f"{covers} of {source}" for source, covers in rows)
        return (
            f"{dataset.name}: {count(keys, 'key is', 'keys are')} visible from two documents, such as {first.example}:"
            f" the documents for {documents}. A sum over them counts twice. Correct the source that is wrong and give its"
            " parser a new version: then its documents are loaded again"
        )


def list_suspects(spans: Mapping[int, Period]) -> Iterator[tuple[Period, list[int]]]:
    """The months on which loads have rows whose days overlap with those of another load, and these loads."""
    by_month = dict[date, list[int]]()
    for load_id in find_overlapping(spans):
        for month in _list_months(spans[load_id]):
            by_month.setdefault(month, []).append(load_id)
    for month, loads in sorted(by_month.items()):
        if len(loads) > 1:
            yield Period(month, _next_month(month) - timedelta(days=1)), sorted(loads)


def find_overlapping(spans: Mapping[int, Period]) -> set[int]:
    """The loads of which some day is within the days of another load."""
    overlapping = set[int]()
    widest: int | None = None  # of those that begin earlier, the one that ends last
    for load_id in sorted(spans, key=lambda load_id: (spans[load_id].first, load_id)):
        if widest is not None and spans[load_id].first <= spans[widest].last:
            overlapping |= {load_id, widest}
        if widest is None or spans[load_id].last > spans[widest].last:
            widest = load_id
    return overlapping


def _list_months(days: Period) -> Iterator[date]:
    month = days.first.replace(day=1)
    while month <= days.last:
        yield month
        month = _next_month(month)


def _next_month(month: date) -> date:
    return (month + timedelta(days=32)).replace(day=1)


def _day(dataset: Dataset, bound: str) -> str:
    """The first or last day of rows, as its number since 1970: a date before that is no Date of the engine."""
    return f"toInt32(toDate32({bound}(`{dataset.time}`)))"


def _period(first: int, last: int) -> Period:
    return Period(date.fromordinal(first + EPOCH_DAY), date.fromordinal(last + EPOCH_DAY))
