"""What the engine's process tells the daemon when it is ready: one line on its standard output."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass


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


def from_json(line: bytes | str) -> Ready:
    """Read the text of `Ready.to_json`."""
    fields = json.loads(line)
    return Ready(fields["sandbox"], tuple(DetachedTable(**table) for table in fields["detached"]))
