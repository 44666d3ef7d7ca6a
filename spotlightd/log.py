"""What the daemon says: constant events in the past tense from this closed list, everything else as key and value.

Dashboards and alerts read these words, so the list is an interface: tests fail on an event that is not in it, and on
a dashboard that asks for one that does not exist.
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
    "publisher asked again", "source checked", "source failed", "source late",
    "document stored", "document unchanged", "document not found", "document refused", "document failed",
    "load published", "load failed", "loads swept", "loads recovered", "records mirrored", "store failed", "store recovered",
    "request served", "request failed", "request refused", "page shown without archive", "port taken", "parser child ended", "parser child started", "verifier child ended",
    "intent settled", "decode changed", "log lost", "positions restored", "drain held", "forward held", "frames rejected", "frames missing", "frames resent",
    "day closed", "part replayed", "move unfinished", "feed connected", "feed lost", "gap recorded",
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
"""How a secret looks in an address, a header or a dump of settings. Ours are never said on purpose; the texts of others,
such as a library's error with the whole address in it, may hold one.
"""


class UnknownEventError(ValueError):
    """An event that is not in EVENTS: a mistake of ours, found by the tests."""


def _listed(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if event["event"] not in EVENTS:
        raise UnknownEventError(event["event"])
    return event


def _without_secrets(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {name: HIDDEN if _SECRET_NAME.search(name) else hide_secrets(value) for name, value in event.items()}


def hide_secrets(value: Any) -> Any:
    """The value with whatever looks like a secret in its texts taken out."""
    if isinstance(value, str):
        for pattern in _SECRETS if "=" in value or ":" in value else ():  # each has one: most words are done with here
            value = pattern.sub(rf"\g<1>{HIDDEN}", value)
        return value
    if isinstance(value, dict):
        return {name: HIDDEN if _SECRET_NAME.search(str(name)) else hide_secrets(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [hide_secrets(one) for one in value]
    return value if isinstance(value, int | float | None) else hide_secrets(str(value))


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
            _without_secrets,
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


def log_context(**context: Any) -> AbstractContextManager[Any]:
    """Every line that is said in the block, by whomever and in tasks begun there, bears that context."""
    return structlog.contextvars.bound_contextvars(**context)


@contextmanager
def forward_events(keep: EventSink) -> Iterator[None]:
    """While the block runs every event that is printed is handed to `keep` too, without its secrets.

    The list of processors is changed where it lies: loggers that were made before hold on to it.
    """

    def handed(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        keep(event)
        return event

    processors: MutableSequence[Any] = structlog.get_config()["processors"]
    processors.insert(max(len(processors) - 1, 0), handed)
    try:
        yield
    finally:
        with suppress(ValueError):  # somebody set structlog up anew meanwhile
            processors.remove(handed)
