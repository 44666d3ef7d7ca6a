"""Four errors under one root; the class says who must act, and so what a flow does about it.

PublisherError   nobody yet: their side is down, slow or answering nonsense. Retried on the next tick.
FormatError      the author of the source: the document is kept, not loaded; others go on.
StoreError       the operator: warehouse, documents, ledger or disk. Flows hold; nothing is committed or dropped.
SettingsError    the operator, before start: exit status 78, and the unit does not restart on it.
"""

from __future__ import annotations

from typing import Literal

Failure = Literal["absent", "failed", "wrong body"]


class SpotlightError(Exception):
    """Root of the errors below; never raised itself."""


class PublisherError(SpotlightError):
    """The publisher did not give the document.

    `outcome` tells three things apart that need different patience: `absent` (it says that the document is not
    there), `failed` (no complete answer), `wrong body` (an answer that is not the document, such as an HTML page
    where a zip was expected). `retry_after_seconds` is what the publisher asked for, if it did.
    """

    def __init__(
        self, message: str, *, outcome: Failure = "failed", status: int = 0, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.outcome: Failure = outcome
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class FormatError(SpotlightError):
    """A document is not what its source's author described. `member` and `line` point at the place, when known."""

    def __init__(self, message: str, *, member: int = 0, line: int = 0) -> None:
        super().__init__(message)
        self.member = member
        self.line = line


class StoreError(SpotlightError):
    """Our own warehouse, documents, ledger or disk refused. `code` is ClickHouse's error code where it has one.

    `slow` is true when the statement was stopped by a limit of time, rows or memory: the reader's to change.
    """

    def __init__(self, message: str, *, code: int = 0, slow: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.slow = slow


class OffsetError(StoreError):
    """The log does not have that offset: it was lost, trimmed, or is another log than it was."""


class SettingsError(SpotlightError):
    """A setting, secret or source file that must be put right before the daemon can start."""


class InUseError(SettingsError):
    """The state folder belongs to another daemon, which is at work: exit status 75."""
