"""The log: events from one closed list, in the past tense; everything else is a key with a value.

Dashboards and alerts depend on the event names, so the list is an interface. Tests fail on an event that is not in it,
and on a dashboard that queries one that does not exist.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator, MutableSequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Literal, TextIO

import structlog

EVENTS = frozenset({
    "daemon started", "daemon ready", "daemon stopping", "daemon stopped",
    "engine started", "engine ready", "engine died", "engine restarted", "engine stopped", "engine not sandboxed",
    "flow started", "flow failed", "flow stopped", "flow restarted",
    "request retried", "source checked", "source failed", "source late",
    "document stored", "document unchanged", "document not found", "document refused", "document failed",
    "load published", "load failed", "loads swept", "loads recovered", "records mirrored", "store failed", "store recovered",
    "request served", "request failed", "request refused", "page served without archive", "port in use", "parser child ended", "parser child started", "verifier child ended",
    "intent recovered", "decode changed", "log lost", "positions restored", "drain held", "forward held", "frames rejected", "frames missing", "frames resent",
    "day closed", "part replayed", "move not completed", "feed connected", "feed lost", "gap recorded",
    "partition planned", "partition advanced", "partition held", "table copied",
    "restore drilled", "archive audited", "archive damaged", "partitions adopted",
    "documents copied", "documents dropped", "documents missing", "document copy damaged",
    "bucket swept", "mirror answered", "library warned",
    "log events left out",
    "disk level changed", "disk stopped answering", "disk answered", "ballast created", "ballast released", "ballast failed",
})  # fmt: skip


EventSink = Callable[[structlog.typing.EventDict], None]

HIDDEN = "(hidden)"
_NAMES = r"(?:password|passwd|secret|token|credentials?|signature|authorization|(?:api|access|private)[_-]?key)"
_SECRET_NAME = re.compile(rf"(?i){_NAMES}$")
_SECRETS = (
    re.compile(rf"(?i)({_NAMES}[\"']?\s*[=:]\s*[\"']?)(?:(?:basic|bearer)\s+)?[^\s&\"',;)}}\]]+"),
    re.compile(r"(?i)([?&]key=)[^\s&\"']+"),
    re.compile(r"(://[^\s/:@]*:)[^\s/@]+(?=@)"),
)
"""How a secret looks in an address, a header or a dump of settings. We never log ours, but the error text of a library may
contain a whole address.
"""


class UnknownEventError(ValueError):
    """An event that is not in EVENTS: a programming error, found by the tests."""


def _check_event(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if event["event"] not in EVENTS:
        raise UnknownEventError(event["event"])
    return event


def _hide_event_secrets(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {name: HIDDEN if _SECRET_NAME.search(name) else hide_secrets(value) for name, value in event.items()}


def hide_secrets(value: Any) -> Any:
    """The value, with `(hidden)` for everything in its texts that looks like a secret."""
    if isinstance(value, str):
        for pattern in (
            _SECRETS if "=" in value or ":" in value else ()
        ):  # every pattern needs one of them: most texts end here
            value = pattern.sub(rf"\g<1>{HIDDEN}", value)
        return value
    if isinstance(value, dict):
        return {name: HIDDEN if _SECRET_NAME.search(str(name)) else hide_secrets(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [hide_secrets(item) for item in value]
    return value if isinstance(value, int | float | None) else hide_secrets(str(value))


class _LibraryHandler(logging.Handler):
    """Turns messages of libraries, which use Python's own logging, into events."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        fields = {"error": repr(error)} if error else {}
        logger().log(record.levelno, "library warned", library=record.name, detail=record.getMessage(), **fields)


def configure(
    level: str = "info", form: Literal["auto", "json", "console"] = "auto", out: TextIO | None = None
) -> None:
    """Set structlog up for the process. Lines go to stderr: stdout is for the results of commands."""
    target = out or sys.stderr
    console = form == "console" or (form == "auto" and target.isatty())
    last: Any = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _check_event,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _hide_event_secrets,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(target),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _LibraryHandler)]:
        root.removeHandler(handler)
    root.addHandler(_LibraryHandler(logging.WARNING))


def logger(**context: Any) -> structlog.typing.FilteringBoundLogger:
    """A logger with that context bound to every line."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind(**context)
    return bound


def log_context(**context: Any) -> AbstractContextManager[Any]:
    """Add that context to every line that is logged in the block, and in tasks that are started in it."""
    return structlog.contextvars.bound_contextvars(**context)


@contextmanager
def forward_events(sink: EventSink) -> Iterator[None]:
    """While the block runs, pass every logged event to `sink` too, without its secrets.

    The list of processors is changed in place, because existing loggers hold a reference to it.
    """

    def forward(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        sink(event)
        return event

    processors: MutableSequence[Any] = structlog.get_config()["processors"]
    processors.insert(max(len(processors) - 1, 0), forward)
    try:
        yield
    finally:
        with suppress(ValueError):  # structlog was configured again in the meantime
            processors.remove(forward)
