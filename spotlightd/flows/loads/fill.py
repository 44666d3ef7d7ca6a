"""Fills the loads of a group: parses their documents, inserts the rows in parallel, and counts them in the table.

The rows of all documents go in one insert for each dataset, and are counted in one query. They are counted because the
engine's own count cannot be trusted: on a full disk it reported 200,000 written rows and had stored none of them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
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
"""A group takes no more documents after this time: slow ones must not hold back those that are read already."""


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


Filled = ParseResult | Refusal | None
"""The outcome of a member. None: the group ended without it, and it must be loaded alone."""


async def fill_loads(
    source: Batch, documents: Documents, parser: Parser, warehouse: Warehouse, members: Sequence[Member]
) -> list[Filled]:
    """Parse and insert in parallel, then check that all parsed rows were stored. Returns the outcome of each member."""
    filled: list[Filled] = []
    async with parser.parse_group(source) as session:
        try:
            await _insert_members(source, documents, warehouse, members, session, filled)
        except StoreError:
            if not session.has_failed and not _is_all_refused(filled, members):
                raise  # otherwise the failed insert is only the consequence of what the documents are
        if session.has_failed:
            return _give_up(members, filled)
    await _require_rows(source, warehouse, members, filled)
    return filled


async def _insert_members(
    source: Batch,
    documents: Documents,
    warehouse: Warehouse,
    members: Sequence[Member],
    session: GroupSession,
    filled: list[Filled],
) -> None:
    first, last = members[0].load.load_id, members[-1].load.load_id
    works: dict[str, Any] = {
        dataset.name: warehouse.insert_stream(
            dataset, session.columns(dataset.name), token=f"load-{first}-{last}-{dataset.name}"
        )
        for dataset in source.datasets
    }
    works[""] = _read_members(source, documents, members, session, filled)
    await run_together(works, prefix=f"loads {first} to {last} ")


async def _read_members(
    source: Batch, documents: Documents, members: Sequence[Member], session: GroupSession, filled: list[Filled]
) -> None:
    until = time.monotonic() + GROUP_SECONDS
    for member in members:
        is_late = bool(filled) and time.monotonic() > until
        filled.append(None if is_late else await _read_member(source, documents, member, session))
        if session.has_failed:
            return
    with suppress(FormatError):  # then the session has failed
        await session.finish()


async def _read_member(source: Batch, documents: Documents, member: Member, session: GroupSession) -> Filled:
    async with documents.file(member.document.digest) as path:
        try:
            parsed = await session.read(
                path, member.document.name, load_id=member.load.load_id, period=member.link.period
            )
            _check_plausibility(source, parsed)
        except FormatError as problem:
            return make_refusal(problem, session.rejects)
    return parsed


def make_refusal(problem: FormatError, rejects: Sequence[Reject] = (), *, is_final: bool = True) -> Refusal:
    place = f" (line {problem.line})" if problem.line else ""
    return Refusal(f"{problem}{place}", tuple(rejects), is_final)


def _is_all_refused(filled: Sequence[Filled], members: Sequence[Member]) -> bool:
    return len(filled) == len(members) and all(isinstance(outcome, Refusal) for outcome in filled)


def _give_up(members: Sequence[Member], filled: Sequence[Filled]) -> list[Filled]:
    """The parsing failed: a document that was alone is refused, and of a group each one is loaded alone."""
    if len(members) == 1:
        ...
    return [None] * len(members)


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
