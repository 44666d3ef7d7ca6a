"""Questions to the log, parsed from the parameters of an address, and their SELECT. Pure.

The table is sorted by time and read newest first, so the newest page, which is requested most, is at its end. Sorted by
event and time, that page would be the slowest. A page never reads further back than its span, a day by default.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from spotlightd.datasets.system import logs
from spotlightd.query import filters, values
from spotlightd.query.errors import bad_parameter
from spotlightd.query.select import Query
from spotlightd.sql.tiers import Span
from spotlightd.sql.visibility import Snapshot, table_expression

LINES = 100
MOST_CHARACTERS = 300
LEVELS = ("debug", "info", "warning", "error", "critical")
SPANS = {
    "hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=31),
    "year": timedelta(days=366),
}  # fmt: skip
COLUMNS = tuple(column.name for column in logs.columns)
_MARK = re.compile(r"(\d{1,17})-(\d{1,17})-(\d{1,20})")
_MOST = (1 << 64) - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ORDER = "(at, started_at, seq)"
_TIME = "DateTime64(6, 'UTC')"


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the log: after one row and before the next."""

    at: datetime
    started_at: datetime
    seq: int

    def __str__(self) -> str:
        return f"{_microseconds(self.at)}-{_microseconds(self.started_at)}-{self.seq}"


@dataclass(frozen=True, slots=True)
class LogQuestion:
    """A question to the log. `level` is the least severe. Lines in (until - span, until]; `before` or `after` a mark in it.

    `has_until`: `until` is in the address; otherwise it is now.
    """

    until: datetime
    level: str = ""
    event: str = ""
    flow: str = ""
    source: str = ""
    load: str = ""
    run: str = ""
    request: str = ""
    text: str = ""
    span: str = "day"
    before: Mark | None = None
    after: Mark | None = None
    has_until: bool = False

    @property
    def since(self) -> datetime:
        return self.until - SPANS[self.span]


PARAMETERS = tuple(field.name for field in fields(LogQuestion) if field.name != "has_until")
_TEXTS = ("event", "flow", "source", "run", "request", "text")


def parse_log_question(query: Mapping[str, str], now: datetime) -> LogQuestion:
    """The question of the parameters. 400 names the wrong one."""
    if unknown := [name for name in query if name not in PARAMETERS]:
        raise bad_parameter(unknown[0], "there is no such parameter", f"There are {', '.join(PARAMETERS)}.")
    texts = {name: text.strip() for name, text in query.items() if text.strip()}
    until = filters.parse_as_of("until", texts.get("until", ""))
    checked = {name: _check_text(name, texts.get(name, "")) for name in _TEXTS}
    return LogQuestion(
        until=until or now,
        has_until=until is not None,
        level=_choice("level", texts.get("level", ""), ("", *LEVELS)),
        span=_choice("span", texts.get("span", "day"), SPANS),
        load=_load(texts.get("load", "")),
        before=_mark("before", texts.get("before", "")),
        after=_mark("after", texts.get("after", "")),
        **checked,
    )


def select_lines(question: LogQuestion, most: int, snapshot: Snapshot) -> Query:
    """The lines of one page, newest first, or oldest first with `after`; one more than `most` if there are more."""
    conditions, params = _conditions(question)
    falling = question.after is None
    rows = table_expression(logs, snapshot, Span({"at": (question.since, question.until)}))
    for mark, sign in ((question.before, "<"), (question.after, ">")):
        if mark is not None:
            conditions.append(f"at {sign}= {{mark:{_TIME}}}")  # also alone, so that the engine can skip blocks
            conditions.append(f"{_ORDER} {sign} ({{mark:{_TIME}}}, {{marked:{_TIME}}}, {{number:UInt64}})")
            params |= {"mark": mark.at, "marked": mark.started_at, "number": mark.seq}
    order = ", ".join(f"{name}{' DESC' if falling else ''}" for name in ("at", "started_at", "seq"))
    sql = (
        f"SELECT {', '.join(COLUMNS)} FROM {rows} WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT {most + 1:d}"
    )
    return Query(sql, params)


def row_mark(row: Mapping[str, Any]) -> str:
    return str(Mark(row["at"], row["started_at"], row["seq"]))


def load_log_address(load: Mapping[str, Any]) -> str:
    """The address of the log lines about a load, from its record."""
    end = values.rfc3339(load["published_at"] + timedelta(minutes=1))
    return values.format_address("/logs", load=load["load_id"], span="day", until=end)


def _conditions(question: LogQuestion) -> tuple[list[str], dict[str, Any]]:
    conditions = [f"at > {{since:{_TIME}}}", f"at <= {{until:{_TIME}}}"]
    params: dict[str, Any] = {"since": question.since, "until": question.until}
    if question.level:
        conditions.append("level IN {levels:Array(String)}")
        params["levels"] = list(LEVELS[LEVELS.index(question.level) :])
    for name in ("event", "flow", "source", "run", "request"):
        if text := getattr(question, name):
            conditions.append(f"{name} = {{{name}:String}}")
            params[name] = text
    if question.load:
        conditions.append("load_id = {load:UInt64}")
        params["load"] = int(question.load)
    if question.text:  # a quotation mark in a field is escaped as in JSON
        conditions.append(
            "(positionCaseInsensitiveUTF8(event, {text:String}) > 0 OR positionCaseInsensitiveUTF8(fields, {json:String}) > 0)"
        )
        params |= {"text": question.text, "json": json.dumps(question.text, ensure_ascii=False)[1:-1]}
    return conditions, params


def _check_text(name: str, text: str) -> str:
    if len(text) > MOST_CHARACTERS:
        raise bad_parameter(name, f"is longer than {MOST_CHARACTERS} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise bad_parameter(name, "is not text that UTF-8 can hold") from None
    return text


def _choice(name: str, text: str, choices: Collection[str]) -> str:
    if text not in choices:
        raise bad_parameter(name, f"{text!r} is none of {', '.join(filter(None, choices))}")
    return text


def _load(text: str) -> str:
    if text and not (re.fullmatch(r"[0-9]{1,20}", text) and int(text) <= _MOST):
        raise bad_parameter("load", f"{text!r} is not the number of a load")
    return text


def _mark(name: str, text: str) -> Mark | None:
    if not text:
        return None
    match = _MARK.fullmatch(text) if text.isascii() else None
    if match is None or int(match[3]) > _MOST:
        raise bad_parameter(name, "is not a mark that this page gave out", f"Begin again without {name}.")
    return Mark(_moment(int(match[1])), _moment(int(match[2])), int(match[3]))


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _moment(microseconds: int) -> datetime:
    return min(_EPOCH + timedelta(microseconds=microseconds), datetime(2261, 12, 31, tzinfo=UTC))
