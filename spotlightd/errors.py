"""Four errors under one root. The class says who must act, and so how a flow reacts.

PublisherError   nobody yet: the publisher is down, slow or sends nonsense. Retried at the next tick.
FormatError      the author of the source: the document is stored but not loaded; other documents go on.
StoreError       the operator: warehouse, documents, ledger or disk. Flows wait; nothing is committed or dropped.
SettingsError    the operator, before start: exit status 78, and the unit does not restart on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

Failure = Literal["absent", "archived", "failed", "wrong body"]


class SpotlightError(Exception):
    """Root of the errors below; never raised itself."""


class PublisherError(SpotlightError):
    """The publisher did not deliver the document.

    `outcome` distinguishes cases that are retried at different times: `absent` (the publisher answers that the document
    does not exist), `archived` (it exists and is served no longer: never retried), `failed` (no complete answer),
    `wrong body` (an answer that is not the document, such as an HTML page instead of a zip). `retry_after_seconds` is what the publisher asked for, if it did.
    """

    def __init__(
        self, message: str, *, outcome: Failure = "failed", status: int = 0, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.outcome: Failure = outcome
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class FormatError(SpotlightError):
    """A document does not have the format that its source describes. `member` and `line` give the place, when known."""

    def __init__(self, message: str, *, member: int = 0, line: int = 0) -> None:
        super().__init__(message)
        self.member = member
        self.line = line


class StoreError(SpotlightError):
    """The warehouse, the documents, the ledger or a disk failed. `code` is ClickHouse's error code where there is one.

    `slow` is true when a limit of time, rows or memory stopped the statement: the reader can change the query.
    """

    def __init__(self, message: str, *, code: int = 0, slow: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.slow = slow


class OffsetError(StoreError):
    """The log does not have that offset: it was lost or trimmed, or this is another log than before."""


class SettingsError(SpotlightError):
    """A setting, a secret or a source file is wrong. The daemon cannot start until it is corrected."""


class InUseError(SettingsError):
    """The state folder belongs to another daemon that is running: exit status 75."""


def find_cause(group: BaseExceptionGroup) -> SpotlightError | None:
    """The error of ours that ended a group of tasks; None when another one is among them: that is a bug, with a traceback.

    A SettingsError comes first: as long as it is not corrected, a restart does not help.
    """
    errors = list(_list_leaves(group))
    ours = [error for error in errors if isinstance(error, SpotlightError)]
    if len(ours) < len(errors):
        return None
    return min(ours, key=lambda error: not isinstance(error, SettingsError))


def _list_leaves(error: BaseException) -> Iterator[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    for inner in error.exceptions:
        yield from _list_leaves(inner)
