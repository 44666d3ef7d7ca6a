"""Settings of what the daemon shows: pages, metrics, log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spotlightd.settings.section import setting


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Numbers about the daemon for Prometheus, on a port of their own."""

    host: str = setting("127.0.0.1", "address to listen on; there are no accounts, so keep it on loopback")
    port: int = setting(9108, "port to listen on; 0 = no metrics; taken: the next free one, said aloud")
    heartbeat_seconds: float = setting(15.0, "pause between two rows of a flow's heartbeat; 0 = none are written")


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The explorer."""

    host: str = setting(
        "127.0.0.1", "address to listen on; the explorer has no accounts, so keep it on loopback or behind a proxy"
    )
    port: int = setting(8080, "port to listen on; taken: the next free one, said aloud")
    query_seconds: float = setting(5.0, "longest time for one query of a page")
    page_rows: int = setting(1_000, "most rows on one page")
    download_seconds: float = setting(600.0, "longest time for one download")
    download_rows: int = setting(0, "most rows of one download; 0 = no limit")
    query_memory_bytes: int = setting(1 << 30, "most memory of one query of a page")
    at_once: int = setting(8, "page queries at the same time, half of them to the archive; more wait their turn")
    hosts: list[str] = setting([], "names under which the explorer may be called besides localhost and its own address")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What the daemon says."""

    level: Literal["debug", "info", "warning", "error"] = setting("info", "least severe event that is written")
    format: Literal["auto", "json", "console"] = setting("auto", "json, or coloured lines on a terminal")
    table_seconds: float = setting(2.0, "pause between two writings to the table `logs`; 0 = nothing is written there")
    table_waiting_events: int = setting(
        10_000, "most events that wait for the table; beyond it they are counted, not kept"
    )
    table_minute_events: int = setting(
        600, "most events of one kind that are kept in a minute; beyond it they are counted, not kept"
    )
