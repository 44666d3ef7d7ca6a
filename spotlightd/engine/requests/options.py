"""Read the URL of a request as ClickHouse does: which parameters are transport, which settings, which values. Pure."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from spotlightd.engine.errors import UNKNOWN_SETTING, failure
from spotlightd.engine.statements.external import ExternalTable

_TRANSPORT = frozenset({
    "query", "database", "session_id", "session_timeout", "session_check", "query_id", "wait_end_of_query", "buffer_size",
    "default_format", "compress", "decompress", "enable_http_compression", "send_progress_in_http_headers",
    "http_headers_progress_interval_ms", "client_protocol_version", "user", "password", "quota_key", "role", "stacktrace",
    "cancel_http_readonly_queries_on_client_close", "http_write_exception_in_output_format", "http_response_buffer_size",
})  # fmt: skip
WITH_LOW_CARDINALITY = 54405
"""The first version of the protocol with the type LowCardinality."""

_NAME = re.compile(r"^\w{1,200}$", re.ASCII)
_SESSION_SECONDS = 60
_MAX_SESSION_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Session:
    """A session: its settings and temporary tables last from one request to the next."""

    name: str
    seconds: int
    must_exist: bool


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """Everything in a request except its statement. `whole`: send the answer only when it is complete, `eager`: send
    what there is of it soon. `read_only`: it came with
    GET, which changes nothing. `external`: tables for this statement only. `protocol_version`:
    of the client, which decides how Native looks; 0 when it names none.
    """

    query_id: str
    database: str
    session: Session | None
    settings: Mapping[str, str]
    values: Mapping[str, str]
    format: str
    whole: bool
    compressed: bool
    eager: bool = False
    protocol_version: int = 0
    read_only: bool = False
    external: tuple[ExternalTable, ...] = ()


def parse_options(
    parameters: Mapping[str, str], headers: Mapping[str, str], *, read_only: bool = False
) -> RequestOptions:
    """Read the parameters of a URL (or form) and the headers that replace some. StatementError for a bad setting."""
    settings = {
        name: value for name, value in parameters.items() if name not in _TRANSPORT and not name.startswith("param_")
    }
    for name in settings:
        if not _NAME.match(name):
            raise failure(UNKNOWN_SETTING, f"Unknown setting '{name[:100]}'")
    if read_only and not parameters.get("session_id"):
        settings["readonly"] = "2"  # in a session it would stay in force
    version = _read_number(parameters, "client_protocol_version", 0)
    if 0 < version < WITH_LOW_CARDINALITY:
        settings.setdefault("low_cardinality_allow_in_native_format", "0")
    return RequestOptions(
        protocol_version=version,
        read_only=read_only,
        query_id=parameters.get("query_id") or str(uuid.uuid4()),
        database=parameters.get("database") or headers.get("X-ClickHouse-Database", ""),
        session=_session(parameters),
        settings=settings,
        values={name.removeprefix("param_"): value for name, value in parameters.items() if name.startswith("param_")},
        format=parameters.get("default_format") or headers.get("X-ClickHouse-Format", "TabSeparated"),
        whole=parameters.get("wait_end_of_query") == "1",
        eager=parameters.get("wait_end_of_query") == "0",
        compressed=parameters.get("enable_http_compression") == "1",
    )


def _session(parameters: Mapping[str, str]) -> Session | None:
    name = parameters.get("session_id", "")
    if not name:
        return None
    requested = _read_number(parameters, "session_timeout", _SESSION_SECONDS)
    return Session(name, min(requested, _MAX_SESSION_SECONDS), parameters.get("session_check") == "1")


def _read_number(parameters: Mapping[str, str], name: str, default: int) -> int:
    text = parameters.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else default


def quote(value: str) -> str:
    """The value as a string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quote_name(name: str) -> str:
    """The name as a quoted identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def make_set_clause(settings: Mapping[str, str | None]) -> str:
    """One SET statement for all settings; None is ClickHouse's default."""
    values = {name: "DEFAULT" if value is None else quote(value) for name, value in settings.items()}
    return "SET " + ", ".join(f"{name} = {value}" for name, value in values.items())
