"""Settings of the stores: warehouse, engine, bucket, documents, archive, disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spotlightd.settings.section import setting


@dataclass(frozen=True, slots=True)
class WarehouseSettings:
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
class EngineSettings:
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
class BucketSettings:
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
class StorageSettings:
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
class ArchiveSettings:
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
class DocumentsSettings:
    """When raw documents leave the folder of this machine for the bucket, and how they are read from there."""

    hot_days: dict[str, int] = setting({}, "source → days until its documents leave the folder; 0 = never")
    every_seconds: float = setting(3_600.0, "pause between two looks for what is to be copied, dropped or missing")
    cache_bytes: int = setting(1 << 30, "most local disk for documents that are read from the bucket")
    lost: list[str] = setting([], "digests of documents that are lost for good, and are not to be missed any more")


@dataclass(frozen=True, slots=True)
class DiskSettings:
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
