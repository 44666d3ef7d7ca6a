"""What a reader asks of the log, read from the parameters of an address, and the SELECT for it. Pure.

The table lies in order of time and is read newest first, so a page is found at its end; and a page never looks further
back than its span, a day unless it is asked for more. In the order of event and time the newest
page, which is asked for most, would be the slowest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
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
    """A place in the log: behind one row, and before the next."""

    at: datetime
    started_at: datetime
    seq: int

    def __str__(self) -> str:
        return f"{_microseconds(self.at)}-{_microseconds(self.started_at)}-{self.seq}"


@dataclass(frozen=True, slots=True)
class LogQuestion:
    """The question. `level` is the least severe. Lines in (until - span, until]; `before` or `after` a mark inside of it.

    `given` is when the reader's own end of the span stands in the address; else it is now.
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


PARAMETERS = tuple(one.name for one in fields(LogQuestion) if one.name != "given")
_TEXTS = ("event", "flow", "source", "run", "request", "text")


def parse_log_question(query: Mapping[str, str], now: datetime) -> LogQuestion:
    """The question that the parameters ask. 400 names the one that cannot be understood."""
    if unknown := [one for one in query if one not in PARAMETERS]:
        raise bad_parameter(unknown[0], "there is no such parameter", f"There are {', '.join(PARAMETERS)}.")
    told = {name: text.strip() for name, text in query.items() if text.strip()}
    until = filters.parse_as_of("until", told.get("until", ""))
    texts = {name: _check_text(name, told.get(name, "")) for name in _TEXTS}
    return LogQuestion(
        until=until or now,
        has_until=until is not None,
        level=_choice("level", told.get("level", ""), ("", *LEVELS)),
        span=_choice("span", told.get("span", "day"), SPANS),
        load=_load(told.get("load", "")),
        before=_mark("before", told.get("before", "")),
        after=_mark("after", told.get("after", "")),
        event=texts["event"], flow=texts["flow"], source=texts["source"], run=texts["run"], request=texts["request"],
        text=texts["text"],
    )  # fmt: skip


def select_lines(wanted: LogQuestion, most: int, pin: Snapshot) -> Query:
    """The lines of one page, newest first, or oldest first behind `after`; one more than `most` if there are more."""
    conditions, params = _conditions(wanted)
    falling = wanted.after is None
    rows = table_expression(logs, pin, Span({"at": (wanted.since, wanted.until)}))
    for mark, sign in ((wanted.before, "<"), (wanted.after, ">")):
        if mark is not None:
            conditions.append(f"at {sign}= {{mark:{_TIME}}}")  # by itself too, for the engine to skip by
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
    """The address of what was said about a load, from its record."""
    end = values.rfc3339(load["published_at"] + timedelta(minutes=1))
    return values.format_address("/logs", load=load["load_id"], span="day", until=end)


def _conditions(wanted: LogQuestion) -> tuple[list[str], dict[str, Any]]:
    conditions = [f"at > {{since:{_TIME}}}", f"at <= {{until:{_TIME}}}"]
    params: dict[str, Any] = {"since": wanted.since, "until": wanted.until}
    if wanted.level:
        conditions.append("level IN {levels:Array(String)}")
        params["levels"] = list(LEVELS[LEVELS.index(wanted.level) :])
    for name in ("event", "flow", "source", "run", "request"):
        if text := getattr(wanted, name):
            conditions.append(f"{name} = {{{name}:String}}")
            params[name] = text
    if wanted.load:
        conditions.append("load_id = {load:UInt64}")
        params["load"] = int(wanted.load)
    if wanted.text:  # a quotation mark in a field stands there as JSON writes it
        conditions.append(
            "(positionCaseInsensitiveUTF8(event, {text:String}) > 0 OR positionCaseInsensitiveUTF8(fields, {json:String}) > 0)"
        )
        params |= {"text": wanted.text, "json": json.dumps(wanted.text, ensure_ascii=False)[1:-1]}
    return conditions, params


def _check_text(name: str, text: str) -> str:
    if len(text) > MOST_CHARACTERS:
        raise bad_parameter(name, f"is longer than {MOST_CHARACTERS} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise bad_parameter(name, "is not text that UTF-8 can hold") from None
    return text


def _choice(name: str, text: str, words: Any) -> str:
    if text not in words:
        raise bad_parameter(name, f"{text!r} is none of {', '.join(one for one in words if one)}")
    return text


def _load(text: str) -> str:
    if text and not (re.fullmatch(r"[0-9]{1,20}", text) and int(text) <= _MOST):
        raise bad_parameter("load", f"{text!r} is not the number of a load")
    return text


def _mark(name: str, text: str) -> Mark | None:
    if not text:
        return None
    found = _MARK.fullmatch(text) if text.isascii() else None
    if found is None or int(found[3]) > _MOST:
        raise bad_parameter(name, "is not a mark that this page gave out", f"Begin again without {name}.")
    return Mark(_moment(int(found[1])), _moment(int(found[2])), int(found[3]))


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _moment(microseconds: int) -> datetime:
    return min(_EPOCH + timedelta(microseconds=microseconds), datetime(2261, 12, 31, tzinfo=UTC))
