"""Settings of what is fetched, parsed and received."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

from spotlightd.settings.section import setting


@dataclass(frozen=True, slots=True)
class PublisherSettings:
    """How we behave towards publishers."""

    contact: str = setting("", "e-mail address of the operator, sent to publishers; required for hosts of the SEC")
    connect_seconds: float = setting(15.0, "longest wait for a connection")
    stall_seconds: float = setting(60.0, "longest silence inside an answer")
    total_seconds: float = setting(1800.0, "longest time for one document")
    attempts: int = setting(4, "tries of one request before it counts as failed")
    backoff_seconds: float = setting(2.0, "first pause between tries; doubles, with jitter")
    backoff_most_seconds: float = setting(120.0, "longest pause between tries; a longer Retry-After ends the tries")
    mirrors: dict[str, str] = setting(
        {}, "host → address that answers in its place, e.g. the demo's mirror; the only way to a private address"
    )


@dataclass(frozen=True, slots=True)
class ParserSettings:
    """Limits of the child process that reads untrusted documents."""

    memory_bytes: int = setting(1 << 30, "most address space of the child")
    cpu_seconds: int = setting(300, "most processor time for one document")
    wall_seconds: float = setting(900.0, "most time for one document")
    unpacked_bytes: int = setting(4 << 30, "most bytes that an archive may unpack to, counted while unpacking")
    members: int = setting(1_000, "most files in an archive")
    ratio: int = setting(200, "most times that a member may grow in unpacking, once above 1 MiB")


@dataclass(frozen=True, slots=True)
class VerifierSettings:
    """Limits of the child process that reads archived files back, before what they hold may be dropped."""

    memory_bytes: int = setting(256 << 20, "most memory of the child; its program takes 40 MiB more")
    cpu_seconds: int = setting(3_600, "most processor time for one file")
    wall_seconds: float = setting(3_600.0, "most time for one file")
    threads: int = setting(2, "row groups that are read at the same time")


@dataclass(frozen=True, slots=True)
class BusSettings:
    """Where messages wait for the warehouse: a log of our own, or a Kafka cluster."""

    kind: Literal["embedded", "kafka"] = setting(
        "embedded", "`embedded` keeps a log in the state folder; `kafka` uses `servers`"
    )
    servers: list[str] = setting(["127.0.0.1:9092"], "addresses of the Kafka brokers (kind = kafka)")
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = setting(
        "PLAINTEXT", "how to speak with the brokers; PLAINTEXT is for loopback"
    )
    sasl: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = setting(
        "SCRAM-SHA-512", "how to log in (security = SASL_…)"
    )
    user: str = setting("spotlightd", "user at the brokers (security = SASL_…)")
    password_file: str = setting("", "file with the password at the brokers, readable by the daemon only")
    ca_file: str = setting("", "certificates that the brokers' are checked against; empty = the system's")
    request_seconds: float = setting(10.0, "longest wait for one answer of a broker")
    replication: int = setting(1, "copies of each topic that we make; more than the cluster has brokers is an error")


@dataclass(frozen=True, slots=True)
class StreamsSettings:
    """Live feeds: which, with what key, and how their frames are kept on the way."""

    enabled: list[str] = setting([], "streams that are listened to; empty = those that have symbols below")
    symbols: dict[str, list[str]] = setting(
        {}, "stream → what to subscribe to: { finnhub = ['AAPL', 'BINANCE:BTCUSDT'] }"
    )
    key_files: dict[str, str] = setting({}, "stream → file with its key, readable by the daemon only")
    addresses: dict[str, str] = setting(
        {},
        "stream → address to connect to in place of the venue's, e.g. the demo's exchange; the only way to a private one",
    )
    retention_hours: dict[str, int] = setting(
        {}, "stream → hours that the bus keeps its messages at least, where it is not to be as the source says"
    )
    spool_bytes: int = setting(
        1 << 30, "most disk for frames that are not in the warehouse yet; beyond it feeds are shed"
    )
    fsync_seconds: float = setting(0.05, "longest time until a received frame is durable")
    fsync_bytes: int = setting(256 << 10, "most bytes until a received frame is made durable")
    batch_frames: int = setting(50_000, "most frames moved into the warehouse at once")
    batch_bytes: int = setting(16 << 20, "most bytes moved into the warehouse at once")
    batch_seconds: float = setting(0.1, "longest wait for a batch to fill up")
    backoff_seconds: float = setting(1.0, "first pause before connecting again; doubles, with jitter")
    backoff_most_seconds: float = setting(60.0, "longest pause before connecting again")
    connect_seconds: float = setting(15.0, "longest wait for a connection")


@dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """When and how eagerly sources are looked at."""

    enabled: bool = setting(True, "false: nothing is fetched; pages and queries only")
    sources: list[str] = setting([], "only these sources; empty = all that are not suspended")
    on_start: bool = setting(True, "look for what is due as soon as the daemon is ready")
    judged_on: date | None = setting(None, "judge lateness as if it were this day (the demo's publisher ends in 2021)")
    since: date | None = setting(None, "load no document that ends before this day")
