"""A ledger that counts the steps of SQLite's virtual machine, and explains each kind of statement."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, ClassVar

from spotlightd.clients.ledger.ledger import SqliteLedger

STEPS_A_CALL = 10


class WatchedLedger(SqliteLedger):
    """The counts are of the class: a test sets them anew, because a flow opens the ledger several times."""

    steps = 0
    plans: ClassVar[dict[str, tuple[str, ...]]] = {}

    def _open(self) -> None:
        super()._open()
        assert self._db is not None
        self._db.set_progress_handler(self._count, STEPS_A_CALL)

    def _count(self) -> None:
        WatchedLedger.steps += STEPS_A_CALL

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        if sql not in self.plans and not sql.startswith(("BEGIN", "COMMIT", "PRAGMA")):
            self.plans[sql] = ()
            assert self._db is not None
            self.plans[sql] = tuple(row[3] for row in self._db.execute(f"EXPLAIN QUERY PLAN {sql}", values))
        return super().execute(sql, values)


def reads_all(step: str) -> bool:
    """Whether a step of a plan reads a whole table. The values of a JSON array are those that were asked for."""
    return step.startswith("SCAN ") and "VIRTUAL TABLE" not in step and "CONSTANT ROW" not in step
