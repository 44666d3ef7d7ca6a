"""What the engine's process tells the daemon when it is ready: one line on its standard output."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from spotlightd.confinement.answers import decode_json, read_fields, read_list, read_text


@dataclass(frozen=True, slots=True)
class DetachedTable:
    """A table that the engine could not load, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} is not loaded: {self.reason} (mend the cause, then ATTACH TABLE or start again)"


@dataclass(frozen=True, slots=True)
class Ready:
    """The result of the confinement, and the tables that are not loaded."""

    sandbox: str
    detached: tuple[DetachedTable, ...] = ()

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))


def from_json(line: bytes) -> Ready:
    """Read the text of `Ready.to_json`. ValueError when it is none."""
    sandbox, detached = read_fields(decode_json(line), "sandbox", "detached")
    tables = [read_fields(table, "name", "reason") for table in read_list(detached)]
    return Ready(
        read_text(sandbox), tuple(DetachedTable(read_text(name), read_text(reason)) for name, reason in tables)
    )
