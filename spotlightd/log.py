"""The log: events from one closed list, in the past tense; everything else is a key with a value.

Dashboards and alerts depend on the event names, so the list is an interface. Tests fail on an event that is not in it,
and on a dashboard that queries one that does not exist.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterator, MutableSequence
from contextlib import AbstractContextManager, contextmanager, suppress
from types import TracebackType
from typing import Any, Literal, TextIO

import structlog

from spotlightd.log_limit import LimitedRenderer
from spotlightd.printable import LINES, escape_text, escape_values
from spotlightd.redact import hide_in, remove_forms
from spotlightd.secret import LEAST_LETTERS, Secret, remove_secrets

EVENTS = frozenset({
    "daemon started", "daemon ready", "daemon stopping", "daemon stopped", "settings reloaded", "reload refused", "state folder closed",
    "engine started", "engine ready", "engine died", "engine hung", "engine restarted", "engine stopped", "engine table detached", "child not confined",
    "flow started", "flow failed", "flow stopped", "flow restarted",
    "request retried", "publisher paused", "lap stalled", "source checked", "source failed", "source late",
    "document stored", "document unchanged", "document covered", "document not found", "document refused", "document failed",
    "load published", "load failed", "loads swept", "loads recovered", "records mirrored", "store failed", "store recovered",
    "request served", "request failed", "request refused", "page served without archive", "port in use", "connections dropped", "parser child ended", "parser child started", "verifier child ended",
    "intent recovered", "decode changed", "log lost", "positions restored", "drain held", "forward held", "frames rejected", "frames missing", "frames resent",
    "day closed", "part replayed", "move not completed", "feed connected", "feed lost", "gap recorded",
    "symbol refused", "venue clock drifted", "venue clock corrected",
    "retention shortened",
    "table lost rows", "table complete", "state went back", "keys doubled",
    "copy recognised", "copy not counted", "quiet change",
    "partition planned", "partition advanced", "partition held", "table copied",
    "codecs changed",
    "restore drilled", "archive audited", "archive damaged", "partitions adopted",
    "documents copied", "documents dropped", "documents missing", "document copy damaged",
    "bucket swept", "mirror answered", "library warned",
    "log events left out",
    "disk level changed", "disk stopped answering", "disk answered", "ballast created", "ballast released", "ballast failed",
})  # fmt: skip


EventSink = Callable[[structlog.typing.EventDict], None]


class UnknownEventError(ValueError):
    """An event that is not in EVENTS: a programming error, found by the tests."""


def _check_event(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if event["event"] not in EVENTS:
        raise UnknownEventError(event["event"])
    return event


class _SecretFilter:
    """The processor that takes secrets out of events. It holds those that the process knows, because they belong to the
    process, as the configuration of the log does: whatever flow read one, no other may print it.
    """

    def __init__(self, known: tuple[Secret, ...] = ()) -> None:
        self.known = known

    def __call__(self, _: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        hidden: structlog.typing.EventDict = hide_in(event, self.hide)
        return hidden

    def hide(self, text: str) -> str:
        return self.hide_known(remove_forms(text))

    def hide_known(self, text: str) -> str:
        return remove_secrets(text, self.known) if self.known else text


def _find_filter() -> _SecretFilter:
    """The filter of the configured log; it is put in where the log was not configured by us, as in a test."""
    processors = structlog.get_config()["processors"]
    for processor in processors:
        if isinstance(processor, _SecretFilter):
            return processor
    added = _SecretFilter()
    structlog.configure(processors=[*processors[:-1], added, *processors[-1:]])
    return added


def add_secret(text: str) -> None:
    """From now on `text` is a secret that this process knows. A text shorter than 8 letters is not searched for."""
    secret, secrets = Secret(text), _find_filter()
    if len(text) >= LEAST_LETTERS and secret not in secrets.known:
        secrets.known = (*secrets.known, secret)


def hide_known_secrets(text: str) -> str:
    """The text without the secrets that this process knows: for data, where what looks like a secret may be none."""
    return _find_filter().hide_known(text)


def hide_secrets(value: Any) -> Any:
    """The value, with `(hidden)` for everything in its texts that is a secret or looks like one."""
    return hide_in(value, _find_filter().hide)


def print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Python's own message about an exception that nobody caught, without secrets."""
    text = str(hide_secrets("".join(traceback.format_exception(kind, error, trace))))
    sys.stderr.write(escape_text(text, LINES))


class _SafeConsoleRenderer(structlog.dev.ConsoleRenderer):
    """Texts of publishers stand in events: none may control the terminal. JSON escapes them anyway."""

    def __call__(self, logger: Any, name: str, event_dict: structlog.typing.EventDict) -> str:
        return super().__call__(logger, name, escape_values(event_dict))


class _LevelFilter:
    """The processor that drops events below a level. The level can be changed while loggers exist."""

    def __init__(self, level: str) -> None:
        self.level = _to_number(level)

    def __call__(self, _: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if _to_number("error" if method == "exception" else method) < self.level:
            raise structlog.DropEvent
        return event


def _to_number(level: str) -> int:
    return int(getattr(logging, level.upper()))


def set_level(level: str) -> None:
    """The level of all loggers, from now on."""
    for processor in structlog.get_config()["processors"]:
        if isinstance(processor, _LevelFilter):
            processor.level = _to_number(level)


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
    last: Any = _SafeConsoleRenderer() if console else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            _LevelFilter(level),
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _check_event,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _SecretFilter(_find_filter().known),
            LimitedRenderer(last, structlog.DropEvent),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
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
