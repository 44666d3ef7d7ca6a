"""What the daemon says: constant events in the past tense from this closed list, everything else as key and value.

Dashboards and alerts read these words, so the list is an interface: tests fail on an event that is not in it, and on
a dashboard that asks for one that does not exist.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal, TextIO

import structlog

EVENTS = frozenset({
    "daemon started", "daemon ready", "daemon stopping", "daemon stopped",
    "engine started", "engine ready", "engine died", "engine restarted", "engine stopped", "engine not sandboxed",
    "flow started", "flow failed", "flow stopped", "flow restarted",
    "publisher asked again", "source looked at", "source failed", "source late",
    "document stored", "document unchanged", "document absent", "document refused", "document failed",
    "load published", "load died", "loads swept", "loads recovered", "records mirrored", "store failed", "store recovered",
    "request served", "request failed", "request refused", "port taken", "parser child ended", "parser child started",
    "intent settled", "decode changed", "log lost", "positions restored", "drain held", "forward held", "frames rejected", "frames missing", "frames sent again",
    "day closed", "part replayed", "move unfinished", "feed connected", "feed lost", "gap noted",
    "disk level changed", "disk fell silent", "disk answered", "ballast made", "ballast released", "ballast failed",
    "mirror answered", "library warned",
})  # fmt: skip


class UnknownEventError(ValueError):
    """An event that is not in EVENTS: a mistake of ours, found by the tests."""


def _listed(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if event["event"] not in EVENTS:
        raise UnknownEventError(event["event"])
    return event


class _Libraries(logging.Handler):
    """What libraries say through Python's own logging: events like all others, not loose lines between them."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        told = {"error": repr(error)} if error else {}
        logger().log(record.levelno, "library warned", library=record.name, says=record.getMessage(), **told)


def configure(
    level: str = "info", form: Literal["auto", "json", "console"] = "auto", out: TextIO | None = None
) -> None:
    """Set structlog up for the process. Lines go to stderr: stdout belongs to what a command was asked for."""
    target = out or sys.stderr
    console = form == "console" or (form == "auto" and target.isatty())
    last: Any = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _listed,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(target),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, _Libraries)]:
        root.removeHandler(handler)
    root.addHandler(_Libraries(logging.WARNING))


def logger(**context: Any) -> structlog.typing.FilteringBoundLogger:
    """A logger with that context bound to every line."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind(**context)
    return bound
