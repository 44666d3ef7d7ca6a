"""The life of a trade as steps: each message, and what it changed against the one before. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from spotlightd.datasets.swaps import swaps
from spotlightd.model.dataset import Column
from spotlightd.query.values import format_address

TITLES = {
    "NEW": "Reported", "MODIFY": "Changed", "CORRECT": "Corrected", "TERMINATE": "Ended", "ERROR": "Withdrawn",
    "REVIVE": "Brought back", "OTHER": "Other message",
}  # fmt: skip
EVENTS = {
    "TRAD": "trade", "NOVA": "novation: another party took over", "COMP": "compression", "ETRM": "early end",
    "EXER": "exercise", "CLRG": "clearing", "ALOC": "allocation", "CLAL": "clearing and allocation",
    "CREV": "credit event", "CORP": "corporate action", "PTNG": "porting to another repository", "UPDT": "update",
    "INCP": "inception",
}  # fmt: skip
IDENTITY = frozenset(
    {"publisher", "regime", "report_date", "schema_version", "message_id", "original_id", "action", "action_printed",
     "event_type", "event_time", "dissemination_time", "amendment", "notional_1_printed", "notional_2_printed", "other"}
)  # fmt: skip
"""Columns that differ from message to message, and those that repeat another one."""
COMPARED = tuple(column for column in swaps.columns if column.name not in IDENTITY)


@dataclass(frozen=True, slots=True)
class Change:
    """A value that differs from that of the message before. `column` is None for one by the publisher's own name."""

    name: str
    column: Column | None
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Step:
    """A message of the trade: its values, the document that it is a line of, and what it changed."""

    values: Mapping[str, Any]
    document: str
    changes: tuple[Change, ...]
    is_first: bool

    @property
    def title(self) -> str:
        action = str(self.values["action"])
        return TITLES.get(action, action)

    @property
    def event(self) -> str:
        """What happened, in words; the publisher's own word where it is not known."""
        word = str(self.values["event_type"])
        return EVENTS.get(word, word)

    @property
    def at(self) -> datetime | None:
        """When it happened, or when it was made public; None where the message says neither."""
        moment: datetime | None = self.values["event_time"] or self.values["dissemination_time"]
        return moment

    @property
    def receipt(self) -> str:
        """The line of the publisher's file."""
        place = {"member": self.values["member"], "line": self.values["line"]}
        return format_address(f"/source/{self.document}", place)

    @property
    def terms(self) -> tuple[Change, ...]:
        """All values of the message that are not empty."""
        return tuple(
            Change(column.name, column, None, self.values[column.name])
            for column in COMPARED
            if self.values[column.name] not in (None, "", [], False)
        )


def make_steps(rows: Sequence[Mapping[str, Any]]) -> tuple[Step, ...]:
    """The steps of a trade's messages, which are in the order of their times."""
    steps = []
    for number, row in enumerate(rows):
        changes = find_changes(rows[number - 1], row) if number else ()
        steps.append(Step(row, row["document"], changes, is_first=not number))
    return tuple(steps)


def find_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """Every column that differs, then every value by the publisher's own name."""
    columns = [
        Change(column.name, column, before[column.name], after[column.name])
        for column in COMPARED
        if before[column.name] != after[column.name]
    ]
    old, new = dict(before["other"]), dict(after["other"])
    names = [name for name in sorted({*old, *new}) if old.get(name, "") != new.get(name, "")]
    return (*columns, *(Change(name, None, old.get(name, ""), new.get(name, "")) for name in names))
