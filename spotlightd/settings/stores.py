"""Settings of the stores: warehouse, engine, bucket, documents, archive, disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spotlightd.settings.section import setting


@dataclass(frozen=True, slots=True)
class WarehouseSettings:
    """Where the tables are: an embedded engine, or a ClickHouse server."""

    kind: Literal["embedded", "server"] = setting(
        "embedded", "`embedded` starts an engine in a child process; `server` uses `url`"
    )
    url: str = setting("http://127.0.0.1:8123", "address of the ClickHouse server (kind = server)")
    user: str = setting("spotlightd", "user at the server")
    password_file: str = setting("", "file with the password at the server, readable by the daemon only")
    password_files: dict[str, str] = setting(
        {}, "other user of the server → file with its password; `check` tries what it must not be able to do"
    )
    database: str = setting("spotlightd", "database of all tables; never `default`")
    connect_seconds: float = setting(5.0, "longest wait for a connection")
    query_seconds: float = setting(600.0, "longest time for a statement of the daemon, such as an insert")
    streams: int = setting(8, "concurrent downloads; beyond them the response is 503")


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The embedded engine. 0 = sized to the machine."""

    memory_bytes: int = setting(0, "most memory of the engine; 0 = half of the machine's memory, at least 1 GiB")
    query_memory_bytes: int = setting(0, "most memory of one query; 0 = a third of the engine's")
    threads: int = setting(0, "threads of one query; 0 = one for each core")
    readers: int = setting(8, "concurrent queries")
    writers: int = setting(2, "concurrent inserts and changes")
    download_slots: int = setting(8, "concurrent streamed responses; beyond them 503")
    send_seconds: float = setting(60.0, "longest time that a reader may accept no data before it is disconnected")
    start_seconds: float = setting(30.0, "longest wait for the engine to be ready")


@dataclass(frozen=True, slots=True)
class BucketSettings:
    """Where old data is stored: a folder, or a bucket of any S3 store."""

    kind: Literal["folder", "s3"] = setting("folder", "`folder` is on this machine; `s3` uses `url` and `name`")
    folder: str = setting("", "the folder (kind = folder); empty = `bucket` in the state folder")
    url: str = setting("http://127.0.0.1:9000", "address of the S3 store, http or https (kind = s3)")
    name: str = setting("spotlightd", "name of the bucket, which must exist (kind = s3)")
    prefix: str = setting("", "prefix of all object names, such as `box1/`; empty = none (kind = s3)")
    region: str = setting("us-east-1", "region of the bucket; self-hosted stores rarely use another (kind = s3)")
    access_key_file: str = setting("", "file with the access key, readable by the daemon only (kind = s3)")
    secret_key_file: str = setting("", "file with the secret key, readable by the daemon only (kind = s3)")
    connect_seconds: float = setting(
        3.0, "longest wait for a connection, and for sending 5 MiB: raise it on a slow line (kind = s3)"
    )
    read_seconds: float = setting(4.0, "longest wait for data of a response (kind = s3)")
    retries: int = setting(1, "retries of a request before it counts as failed (kind = s3)")
    threads: int = setting(4, "concurrent requests to the store (kind = s3)")


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """A cold disk for the tables of a ClickHouse server, in the bucket's store. Only `spotlightd server-config` reads it."""

    policy: str = setting("tiered", "name of the storage policy: first the server's own disk, then the cold one")
    name: str = setting("", "bucket of the cold disk; empty = the archive's (bucket.name)")
    prefix: str = setting("clickhouse-parts/", "prefix of the cold disk's objects, different from those of the archive")
    access_key_file: str = setting(
        "", "file with the cold disk's own access key; it may delete below the prefix, which the archive's key may not"
    )
    secret_key_file: str = setting("", "file with the cold disk's own secret key")
    cache_bytes: int = setting(10 << 30, "most local disk space for the cache of the cold disk")
    free_percent: float = setting(
        10.0,
        "least free space of the hot disk: below it the server moves parts to the cold disk; 0 = never automatically",
    )
    read_seconds: float = setting(30.0, "longest wait for data in one request of the server")
    retries: int = setting(3, "retries of a request of the server before it counts as failed")


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """When old rows move from the warehouse to the bucket, and with what safety margins."""

    enabled: bool = setting(True, "false: no more rows leave the warehouse; archived rows stay readable")
    hot_days: dict[str, int] = setting(
        {}, "dataset → least days that its rows stay in the warehouse, instead of its own; 0 = permanently"
    )
    every_seconds: float = setting(60.0, "pause between two checks for due partitions")
    late_seconds: float = setting(86_400.0, "late rows of a sealed day are archived when none arrived for so long")
    grace_seconds: float = setting(86_400.0, "pause between the verification of a copy and the switch of readers to it")
    rest_seconds: float = setting(
        1_800.0, "pause between the switch to a copy and the drop of its original; longer than the longest query"
    )
    drop_bytes_per_day: int = setting(200 << 30, "most bytes of archived files whose originals are dropped per day")
    drill_days: float = setting(30.0, "pause between two restore drills; 0 = none")


@dataclass(frozen=True, slots=True)
class DocumentsSettings:
    """When raw documents move from this machine's folder to the bucket, and how they are read from there."""

    hot_days: dict[str, int] = setting(
        {}, "source → days until its documents leave the folder, instead of its own; 0 = never"
    )
    every_seconds: float = setting(
        3_600.0, "pause between two checks for documents to copy or drop, and for missing ones"
    )
    cache_bytes: int = setting(1 << 30, "most local disk space for documents that are read from the bucket")
    lost: list[str] = setting(
        [], "digests of documents that are known to be lost, and are no longer reported as missing"
    )


@dataclass(frozen=True, slots=True)
class DiskSettings:
    """Which work waits while a disk is too full. The watermarks are per cent of each file system."""

    every_seconds: float = setting(2.0, "pause between two measurements of the disks")
    answer_seconds: float = setting(3.0, "a disk that takes longer to report its usage counts as hanging")
    warn_percent: float = setting(85.0, "warning level; from here on a released ballast is not created again")
    batch_percent: float = setting(92.0, "from here on no document is fetched or loaded")
    sink_percent: float = setting(
        95.0, "from here on nothing is inserted into the tables; frames wait in bus and spool"
    )
    ballast_percent: float = setting(97.0, "from here on the ballast is released")
    hysteresis_percent: float = setting(1.0, "how far below its watermark the usage must fall before a level ends")
    ballast_bytes: int | None = setting(
        None,
        "size of the ballast beside the tables; 0 = none; unset = 1 % of the disk, at least 1 GiB, at most 2 % or 8 GiB",
    )
    server_folder: str = setting(
        "", "data folder of the ClickHouse server, if it is on this machine (warehouse.kind = server)"
    )
    folders: list[str] = setting([], "more folders whose disks are measured; they hold no work")
