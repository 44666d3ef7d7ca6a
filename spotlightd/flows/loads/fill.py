"""Fills the loads of a group: parses their documents, inserts the rows in parallel, and counts them in the table.

The rows of all documents go in one insert for each dataset, and are counted in one query. They are counted because the
engine's own count cannot be trusted: on a full disk it reported 200,000 written rows and had stored none of them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from spotlightd.errors import FormatError, StoreError
from spotlightd.model.provenance import Document, Load, Reject
from spotlightd.model.source import Batch, Link, Period
from spotlightd.ports.parser import GroupSession, Parser, ParseResult
from spotlightd.ports.storage import Documents
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.days import days_condition, days_values
from spotlightd.tasks import run_together

GROUP_SECONDS = 5.0
"""A group takes no more documents after this time: slow ones must not hold back those that were read before them."""

GROUP_REJECTS = 10_000
"""Nor after so many rejected lines, which the daemon holds until the group ends."""


@dataclass(frozen=True, slots=True)
class Member:
    """A document of a group, and the load that its rows belong to."""

    link: Link
    document: Document
    load: Load


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a document is stored and not loaded. `is_final`: its bytes are refused whatever else gets published."""

    error: str
    rejects: tuple[Reject, ...] = ()
    is_final: bool = True


class Deferral(Enum):
    """Why a document has no outcome in its group.

    LATER  the group had taken long enough, or held enough; it is loaded in the next one
    ALONE  its outcome may depend on another document, or the group failed; it is loaded after the group, alone
    """

    LATER = "later"
    ALONE = "alone"


Filled = ParseResult | Refusal | Deferral


def make_refusal(problem: FormatError, rejects: Sequence[Reject] = (), *, is_final: bool = True) -> Refusal:
    place = f" (line {problem.line})" if problem.line else ""
    return Refusal(f"{problem}{place}", tuple(rejects), is_final)


def period_of(members: Sequence[Member]) -> Period:
    """All days of these documents, and those between them."""
    return Period(min(member.link.first for member in members), max(member.link.last for member in members))


async def fill_loads(
    source: Batch, documents: Documents, parser: Parser, warehouse: Warehouse, members: Sequence[Member]
) -> list[Filled]:
    """Parse and insert in parallel, then check that all parsed rows were stored. Returns the outcome of each member."""
    filled: list[Filled] = []
    async with parser.parse_group(source) as session:
        try:
            await _insert_members(source, documents, warehouse, members, session, filled)
        except StoreError:
            if not session.problem and not _are_all_refused(members, filled):
                raise  # otherwise the failed insert is only a consequence
        if session.problem:
            return _give_up(members, session, filled)
    await _require_rows(source, warehouse, members, filled)
    return filled


async def _insert_members(
    source: Batch, documents: Documents, warehouse: Warehouse, members: Sequence[Member], session: GroupSession,
    filled: list[Filled],
) -> None:  # fmt: skip
    group = f"{members[0].load.load_id}-{members[-1].load.load_id}"
    works: dict[str, Any] = {
        f"into {dataset.name}": warehouse.insert_stream(
            dataset, session.columns(dataset.name), token=f"load-{group}-{dataset.name}"
        )
        for dataset in source.datasets
    }
    works["from the parser"] = _read_members(source, documents, members, session, filled)
    await run_together(works, prefix=f"loads {group} ")


async def _read_members(
    source: Batch, documents: Documents, members: Sequence[Member], session: GroupSession, filled: list[Filled]
) -> None:
    until, rejects = time.monotonic() + GROUP_SECONDS, 0
    for member in members:
        is_full = bool(filled) and (time.monotonic() > until or rejects > GROUP_REJECTS)
        filled.append(Deferral.LATER if is_full else await _read_member(source, documents, member, session))
        rejects += len(session.rejects)
        if session.problem:
            return
    try:
        await session.finish()
    except FormatError as problem:
        filled[-1] = make_refusal(problem)


async def _read_member(source: Batch, documents: Documents, member: Member, session: GroupSession) -> Filled:
    load_id, days = member.load.load_id, member.link.period
    async with documents.file(member.document.digest) as path:
        try:
            parsed = await session.read(path, member.document.name, load_id=load_id, period=days)
            _check_plausibility(source, parsed)
        except FormatError as problem:
            return make_refusal(problem, session.rejects)
    return parsed


def _are_all_refused(members: Sequence[Member], filled: Sequence[Filled]) -> bool:
    return len(filled) == len(members) and all(isinstance(outcome, Refusal) for outcome in filled)


def _give_up(members: Sequence[Member], session: GroupSession, filled: Sequence[Filled]) -> list[Filled]:
    """The group cannot be finished. Nobody knows which document is to blame, unless there is only one."""
    if len(members) > 1:
        return [Deferral.ALONE] * len(members)
    refused: list[Filled] = [outcome for outcome in filled if isinstance(outcome, Refusal)]
    return [*refused, Refusal(session.problem, session.rejects)][:1]


async def _require_rows(
    source: Batch, warehouse: Warehouse, members: Sequence[Member], filled: Sequence[Filled]
) -> None:
    """StoreError when the warehouse does not hold exactly the rows of each load that were read.

    Rows are counted on the days of the documents, where all of them are: so only the partitions of these days are read.
    """
    parsed = [
        (member, result) for member, result in zip(members, filled, strict=True) if isinstance(result, ParseResult)
    ]
    if not parsed:
        return
    days, ids = period_of(members), [member.load.load_id for member, _ in parsed]
    for dataset in source.datasets:
        sql = (
            f"SELECT load_id, count() FROM {dataset.name} WHERE {days_condition(dataset)}"
            " AND load_id IN {ids:Array(UInt64)} GROUP BY load_id"
        )
        answer = await warehouse.rows(sql, {**days_values(dataset, days.first, days.last), "ids": ids})
        stored = {int(load_id): int(rows) for load_id, rows in answer.rows}
        for member, result in parsed:
            _require_equal(member, dataset.name, result.rows[dataset.name], stored.get(member.load.load_id, 0))


def _require_equal(member: Member, dataset: str, read: int, stored: int) -> None:
    if read != stored:
        raise StoreError(
            f"load {member.load.load_id} of {member.document.name}: {read:,} rows of {dataset} were read, "
            f"the warehouse holds {stored:,}: is its disk full?"
        )


def _check_plausibility(source: Batch, parsed: ParseResult) -> None:
    unread = [reject for reject in parsed.rejects if not reject.of_other_slice]
    if len(unread) > source.rejects_allowed * max(parsed.lines, 1):
        first, allowed = unread[0], f"{source.name} allows {source.rejects_allowed:.2%}"
        message = f"{len(unread)} of {parsed.lines} lines could not be parsed; {allowed}"
        raise FormatError(f"{message}; the first: {first.reason}", member=first.member, line=first.line)
    for dataset in source.datasets:
        rows, (minimum, maximum) = parsed.rows.get(dataset.name, 0), dataset.rhythm.rows
        if not minimum <= rows <= maximum:
            raise FormatError(f"{rows} rows for {dataset.name}, where {minimum} to {maximum} are plausible")
