"""Settings of sources and streams: fetching, parsing, receiving."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

from spotlightd.settings.section import setting


@dataclass(frozen=True, slots=True)
class PublisherSettings:
    """How requests to publishers are made, for all sources. The limits of one source are in its `Batch`."""

    contact: str = setting("", "e-mail address of the operator, sent to publishers; required for hosts of the SEC")
    connect_seconds: float = setting(15.0, "longest wait for a connection")
    stall_seconds: float = setting(60.0, "longest pause within a response")
    total_seconds: float = setting(1800.0, "longest time for one document")
    attempts: int = setting(4, "attempts of one request before it counts as failed")
    backoff_seconds: float = setting(2.0, "first pause between attempts; doubles, with jitter")
    backoff_most_seconds: float = setting(120.0, "longest pause between attempts; a longer Retry-After ends them")
    mirrors: dict[str, str] = setting(
        {}, "host → address to use instead, such as the demo's mirror; private addresses are refused otherwise"
    )
    mirror_requests_per_second: float = setting(
        0.0, "most requests to each host that has a mirror; 0 = as many as to the publisher itself"
    )


@dataclass(frozen=True, slots=True)
class ParserSettings:
    """Limits of the child process that parses untrusted documents."""

    memory_bytes: int = setting(1 << 30, "most address space of the child")
    cpu_seconds: int = setting(300, "most processor time for one document")
    wall_seconds: float = setting(900.0, "most time for one document")
    unpacked_bytes: int = setting(4 << 30, "most bytes that an archive may unpack to, counted while unpacking")
    members: int = setting(1_000, "most members in an archive")
    ratio: int = setting(200, "highest compression ratio of a member that unpacks to more than 1 MiB")


@dataclass(frozen=True, slots=True)
class VerifierSettings:
    """Limits of the child process that reads archived files back, before their originals may be dropped."""

    memory_bytes: int = setting(256 << 20, "most memory of the child, besides 40 MiB for its program")
    cpu_seconds: int = setting(3_600, "most processor time for one file")
    wall_seconds: float = setting(3_600.0, "most time for one file")
    threads: int = setting(2, "row groups that are read concurrently")


@dataclass(frozen=True, slots=True)
class BusSettings:
    """Where messages wait for the warehouse: an embedded log, or a Kafka cluster."""

    kind: Literal["embedded", "kafka"] = setting(
        "embedded", "`embedded` is a log in the state folder; `kafka` uses `servers`"
    )
    servers: list[str] = setting(["127.0.0.1:9092"], "addresses of the Kafka brokers (kind = kafka)")
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = setting(
        "PLAINTEXT", "protocol to the brokers; use PLAINTEXT on loopback only"
    )
    sasl: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = setting(
        "SCRAM-SHA-512", "login mechanism (security = SASL_…)"
    )
    user: str = setting("spotlightd", "user at the brokers (security = SASL_…)")
    password_file: str = setting("", "file with the password at the brokers, readable by the daemon only")
    ca_file: str = setting("", "file with the certificates of trusted authorities; empty = the system's")
    request_seconds: float = setting(10.0, "longest wait for one response of a broker")
    replication: int = setting(1, "replicas of each topic that is created; more than there are brokers is an error")


@dataclass(frozen=True, slots=True)
class StreamsSettings:
    """Live feeds: which ones, their keys, and how frames are stored until they are in the warehouse."""

    enabled: list[str] = setting([], "streams to listen to; empty = all that have symbols below")
    symbols: dict[str, list[str]] = setting(
        {}, "stream → symbols to subscribe to: { finnhub = ['AAPL', 'BINANCE:BTCUSDT'] }"
    )
    key_files: dict[str, str] = setting({}, "stream → file with its API key, readable by the daemon only")
    addresses: dict[str, str] = setting(
        {},
        "stream → address to use instead of the venue's, such as the demo's exchange; private ones are refused otherwise",
    )
    retention_hours: dict[str, int] = setting(
        {}, "stream → least hours that the bus keeps its messages, instead of the source's own"
    )
    spool_bytes: int = setting(
        1 << 30, "most disk space for frames that are not in the warehouse yet; beyond it feeds are shed"
    )
    fsync_seconds: float = setting(0.05, "longest time until a received frame is durable")
    fsync_bytes: int = setting(256 << 10, "most bytes until received frames are made durable")
    batch_frames: int = setting(50_000, "most frames in one batch to the warehouse")
    batch_bytes: int = setting(16 << 20, "most bytes in one batch to the warehouse")
    batch_seconds: float = setting(1.0, "longest wait for a batch to fill up while no live page is open")
    watched_batch_seconds: float = setting(0.2, "longest wait for a batch to fill up while a live page is open")
    backoff_seconds: float = setting(1.0, "first pause before reconnecting; doubles, with jitter")
    backoff_most_seconds: float = setting(60.0, "longest pause before reconnecting")
    connect_seconds: float = setting(15.0, "longest wait for a connection")


@dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """When sources are checked for new documents."""

    enabled: bool = setting(True, "false: nothing is fetched; pages and queries still work")
    sources: list[str] = setting([], "only these sources; empty = all that are not suspended")
    on_start: bool = setting(True, "check all sources as soon as the daemon is ready")
    judged_on: date | None = setting(
        None, "the day that lateness is judged on; unset = today (the demo's data end in 2021)"
    )
    since: date | None = setting(None, "load no document whose days end before this day")
