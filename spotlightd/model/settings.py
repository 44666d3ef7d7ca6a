"""All settings: one TOML file read into frozen values. Every field has a default, its unit in its name, a sentence.

An unknown key is an error that names the nearest known one. Secrets never stand in the file: they come from files that
only the daemon may read (systemd credentials, or 0600), named by settings that end in `_file`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal


def setting(default: Any, says: str) -> Any:
    """A settings field: its default, and one sentence for the operator (printed by `check` and docs/settings.md)."""
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata={"says": says})
    return field(default=default, metadata={"says": says})


@dataclass(frozen=True, slots=True)
class Warehouse:
    """Where the tables are: an engine of our own, or a ClickHouse server."""

    kind: Literal["embedded", "server"] = setting(
        "embedded", "`embedded` starts an engine in a child process; `server` uses `url`"
    )
    url: str = setting("http://127.0.0.1:8123", "address of the ClickHouse server (kind = server)")
    user: str = setting("spotlightd", "user at the server")
    password_file: str = setting("", "file with the password at the server, readable by the daemon only")
    database: str = setting("spotlightd", "database of all tables; never `default`")
    connect_seconds: float = setting(5.0, "longest wait for a connection")
    query_seconds: float = setting(600.0, "longest time for a statement of ours, such as an insert")
    streams: int = setting(8, "downloads at the same time; beyond them the answer is 503")


@dataclass(frozen=True, slots=True)
class Engine:
    """The embedded engine. Zero means: sized to the machine."""

    memory_bytes: int = setting(0, "most memory of the engine; 0 = half of the machine's, at least 1 GiB")
    query_memory_bytes: int = setting(0, "most memory of one query; 0 = a third of the engine's")
    threads: int = setting(0, "threads of one query; 0 = as many as the machine has cores")
    readers: int = setting(8, "queries at the same time")
    writers: int = setting(2, "inserts and changes at the same time")
    download_slots: int = setting(8, "slow, streamed answers at the same time; beyond them 503")
    send_seconds: float = setting(60.0, "a reader that takes nothing for so long is hung up on")
    start_seconds: float = setting(30.0, "longest wait for the engine to be ready")


@dataclass(frozen=True, slots=True)
class Publisher:
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
class Parser:
    """Limits of the child process that reads untrusted documents."""

    memory_bytes: int = setting(1 << 30, "most address space of the child")
    cpu_seconds: int = setting(300, "most processor time for one document")
    wall_seconds: float = setting(900.0, "most time for one document")
    unpacked_bytes: int = setting(4 << 30, "most bytes that an archive may unpack to, counted while unpacking")
    members: int = setting(1_000, "most files in an archive")
    ratio: int = setting(200, "most times that a member may grow in unpacking, once above 1 MiB")


@dataclass(frozen=True, slots=True)
class Verifier:
    """Limits of the child process that reads archived files back, before what they hold may be dropped."""

    memory_bytes: int = setting(256 << 20, "most memory of the child; its program takes 40 MiB more")
    cpu_seconds: int = setting(3_600, "most processor time for one file")
    wall_seconds: float = setting(3_600.0, "most time for one file")
    threads: int = setting(2, "row groups that are read at the same time")


@dataclass(frozen=True, slots=True)
class Bus:
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
class Streams:
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
class Bucket:
    """Where old data goes: a folder, or a bucket of any S3 store."""

    kind: Literal["folder", "s3"] = setting("folder", "`folder` keeps it on this machine; `s3` uses `url` and `name`")
    folder: str = setting("", "the folder (kind = folder); empty = `bucket` in the state folder")
    url: str = setting("http://127.0.0.1:9000", "address of the S3 store, http or https (kind = s3)")
    name: str = setting("spotlightd", "name of the bucket, which must be there (kind = s3)")
    prefix: str = setting("", "beginning of all names in the bucket, such as `box1/`; empty = none (kind = s3)")
    region: str = setting("us-east-1", "region of the bucket; a store of your own hardly ever has another (kind = s3)")
    access_key_file: str = setting("", "file with the access key, readable by the daemon only (kind = s3)")
    secret_key_file: str = setting("", "file with the secret key, readable by the daemon only (kind = s3)")
    connect_seconds: float = setting(
        3.0, "longest wait for a connection, and for 5 MiB to be sent: more for a slow line (kind = s3)"
    )
    read_seconds: float = setting(4.0, "longest silence while an answer is waited for (kind = s3)")
    retries: int = setting(1, "how often a call is tried again before it counts as failed (kind = s3)")
    threads: int = setting(4, "calls to the store at the same time (kind = s3)")


@dataclass(frozen=True, slots=True)
class Storage:
    """A cold disk for the tables of a ClickHouse server, in the bucket's store. Only `spotlightd server-config` reads it."""

    policy: str = setting("tiered", "name of the storage policy: first the server's own disk, then the cold one")
    name: str = setting("", "name of the bucket of the cold disk; empty = the archive's (bucket.name)")
    prefix: str = setting("clickhouse-parts/", "beginning of the cold disk's names, apart from those of the archive")
    access_key_file: str = setting(
        "", "file with the cold disk's own access key, which may delete below the prefix, as the archive's may not"
    )
    secret_key_file: str = setting("", "file with the cold disk's own secret key")
    cache_bytes: int = setting(10 << 30, "most local disk for copies of what was read from the cold disk")
    free_percent: float = setting(
        10.0, "so much of the hot disk stays free: below it the server moves parts to the cold disk; 0 = only when told"
    )
    read_seconds: float = setting(30.0, "longest silence of the store in one call of the server")
    retries: int = setting(3, "how often the server tries a call again before it counts as failed")


@dataclass(frozen=True, slots=True)
class Metrics:
    """Numbers about the daemon for Prometheus, on a port of their own."""

    host: str = setting("127.0.0.1", "address to listen on; there are no accounts, so keep it on loopback")
    port: int = setting(9108, "port to listen on; 0 = no metrics; taken: the next free one, said aloud")
    heartbeat_seconds: float = setting(15.0, "pause between two rows of a flow's heartbeat; 0 = none are written")


@dataclass(frozen=True, slots=True)
class Web:
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
class Schedule:
    """When and how eagerly sources are looked at."""

    enabled: bool = setting(True, "false: nothing is fetched; pages and queries only")
    sources: list[str] = setting([], "only these sources; empty = all that are not suspended")
    on_start: bool = setting(True, "look for what is due as soon as the daemon is ready")
    judged_on: date | None = setting(None, "judge lateness as if it were this day (the demo's publisher ends in 2021)")
    since: date | None = setting(None, "load no document that ends before this day")


@dataclass(frozen=True, slots=True)
class Archive:
    """When old rows leave the warehouse for the bucket, and how carefully."""

    enabled: bool = setting(True, "false: nothing more leaves the warehouse; what is archived stays readable")
    hot_days: dict[str, int] = setting(
        {}, "dataset → days that its rows stay in the warehouse at least, where it is not to be its own; 0 = for ever"
    )
    every_seconds: float = setting(60.0, "pause between two looks for what is due")
    late_seconds: float = setting(86_400.0, "rows that come late for a sealed day leave when none came for so long")
    grace_seconds: float = setting(86_400.0, "pause between the proof of a copy and its use by readers")
    rest_seconds: float = setting(
        1_800.0, "pause between the use of a copy and the drop of the original; longer than any question may take"
    )
    drop_bytes_per_day: int = setting(200 << 30, "most bytes of archived files whose originals are dropped in a day")
    drill_days: float = setting(30.0, "pause between two restore drills; 0 = none")


@dataclass(frozen=True, slots=True)
class Documents:
    """When raw documents leave the folder of this machine for the bucket, and how they are read from there."""

    hot_days: dict[str, int] = setting({}, "source → days until its documents leave the folder; 0 = never")
    every_seconds: float = setting(3_600.0, "pause between two looks for what is to be copied, dropped or missing")
    cache_bytes: int = setting(1 << 30, "most local disk for documents that are read from the bucket")
    lost: list[str] = setting([], "digests of documents that are lost for good, and are not to be missed any more")


@dataclass(frozen=True, slots=True)
class Disk:
    """What waits while a disk is too full, and from where on; the marks are per cent of each file system."""

    every_seconds: float = setting(2.0, "pause between two looks at the disks")
    answer_seconds: float = setting(3.0, "a disk that has not said for so long how full it is counts as hanging")
    warn_percent: float = setting(85.0, "from here on it is said, and a released ballast is not made again")
    batch_percent: float = setting(92.0, "from here on no document is fetched or loaded")
    sink_percent: float = setting(95.0, "from here on nothing is moved into the tables; frames wait in bus and spool")
    ballast_percent: float = setting(97.0, "from here on the ballast is released")
    hysteresis_percent: float = setting(1.0, "so far below its mark a level is left again")
    ballast_bytes: int | None = setting(
        None,
        "size of the ballast beside the tables; 0 = none; not set = 1 % of the disk, at least 1 GiB, at most 2 % or 8 GiB",
    )
    server_folder: str = setting(
        "", "folder of the ClickHouse server's data if it lies on this machine (warehouse.kind = server)"
    )
    folders: list[str] = setting([], "more folders whose disks are to be watched; they hold nothing")


@dataclass(frozen=True, slots=True)
class Log:
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


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole file. `state_dir` holds everything that is kept."""

    state_dir: Path = setting(Path("state"), "folder of everything that is kept: documents, ledger, engine")
    warehouse: Warehouse = field(default_factory=Warehouse)
    engine: Engine = field(default_factory=Engine)
    publisher: Publisher = field(default_factory=Publisher)
    parser: Parser = field(default_factory=Parser)
    verifier: Verifier = field(default_factory=Verifier)
    bus: Bus = field(default_factory=Bus)
    streams: Streams = field(default_factory=Streams)
    bucket: Bucket = field(default_factory=Bucket)
    storage: Storage = field(default_factory=Storage)
    metrics: Metrics = field(default_factory=Metrics)
    web: Web = field(default_factory=Web)
    schedule: Schedule = field(default_factory=Schedule)
    archive: Archive = field(default_factory=Archive)
    documents: Documents = field(default_factory=Documents)
    disk: Disk = field(default_factory=Disk)
    log: Log = field(default_factory=Log)
