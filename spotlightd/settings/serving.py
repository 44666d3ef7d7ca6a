"""Settings of the daemon's output: metrics, pages, log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spotlightd.settings.section import setting


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Metrics of the daemon for Prometheus, on a separate port."""

    host: str = setting("127.0.0.1", "address to listen on; another one than loopback needs `token_file`")
    token_file: str = setting("", "file with the token that readers must send, as in `Authorization: Bearer`")
    port: int = setting(9108, "port to listen on; 0 = no metrics; if it is in use: the next free one, which is logged")
    heartbeat_seconds: float = setting(15.0, "pause between two heartbeat rows of a flow; 0 = none are written")


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The explorer."""

    host: str = setting(
        "127.0.0.1", "address to listen on; another one than loopback needs `token_file` or `behind_proxy`"
    )
    token_file: str = setting("", "file with the token that readers must send, as Bearer token or as a password")
    behind_proxy: bool = setting(False, "true: a proxy with TLS and a login stands in front of the explorer")
    port: int = setting(8080, "port to listen on; if it is in use: the next free one, which is logged")
    query_seconds: float = setting(5.0, "longest time for one query of a page")
    wait_seconds: float = setting(20.0, "longest wait of a query of a page for its turn")
    page_rows: int = setting(1_000, "most rows on one page")
    download_seconds: float = setting(600.0, "longest time for one download")
    download_rows: int = setting(0, "most rows of one download; 0 = no limit")
    query_memory_bytes: int = setting(1 << 30, "most memory of one query of a page")
    at_once: int = setting(
        8,
        "concurrent page queries: half may be of heavy pages, half may read the archive, a quarter may be of downloads that"
        " begin; more wait",
    )
    connections: int = setting(512, "most open connections; fewer where the process may open few files")
    address_connections: int = setting(
        0,
        "most open connections of one address of another machine; 0 = half of `connections`, or all with `behind_proxy`",
    )
    hosts: list[str] = setting([], "host names of the explorer besides localhost and its own address")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The log, and the table `logs`."""

    level: Literal["debug", "info", "warning", "error"] = setting("info", "least severe events that are written")
    format: Literal["auto", "json", "console"] = setting("auto", "json, or coloured lines on a terminal")
    table_seconds: float = setting(2.0, "pause between two inserts into the table `logs`; 0 = the table is not written")
    table_waiting_events: int = setting(10_000, "most events that wait for the table; more are counted, not stored")
    table_minute_events: int = setting(
        600, "most events of one kind per minute in the table; more are counted, not stored"
    )
