"""What the engine's process needs at its start: folders, sizes, and the secret. It is sent through a pipe only."""

from __future__ import annotations

import dataclasses
import json
import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

from spotlightd.files import open_existing, write_file
from spotlightd.model.bucket import COLLECTION, EngineReach
from spotlightd.settings.stores import EngineSettings

GIB = 1 << 30
MIB = 1 << 20
TABLES = {"cleanup_delay_period": 5, "max_cleanup_delay_period": 10, "cleanup_delay_period_random_add": 1}
"""How often, in seconds, a table removes the parts that were merged. By default a quiet table does it every five minutes: by
then a feed of one batch a second has left hundreds, which the engine removes with a hundred new threads that stay.
"""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The engine's configuration. `socket_number` is the file number of an inherited socket, `sandbox` the result of the
    confinement, `bucket` the part of the bucket that the engine may reach.
    """

    folder: str
    database: str
    user: str
    password: str = field(repr=False)
    socket_number: int
    parent_pid: int
    memory_bytes: int
    query_memory_bytes: int
    threads: int
    readers: int
    writers: int
    download_slots: int
    send_seconds: float
    start_seconds: float
    sandbox: str = ""
    bucket: EngineReach = field(default_factory=EngineReach)

    @property
    def data(self) -> Path:
        return Path(self.folder) / "data"

    @property
    def temporary(self) -> Path:
        return Path(self.folder) / "tmp"

    @property
    def config_file(self) -> Path:
        return Path(self.folder) / "config.xml"

    @property
    def lock_file(self) -> Path:
        return Path(self.folder) / "lock"

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))


def from_json(text: str) -> Configuration:
    """Read the text of `Configuration.to_json`."""
    fields = json.loads(text)
    return Configuration(**fields | {"bucket": EngineReach(**fields["bucket"])})


@dataclass(frozen=True, slots=True)
class Size:
    """Memory, in bytes, and threads of an engine."""

    memory_bytes: int
    query_memory_bytes: int
    threads: int


def compute_size(settings: EngineSettings) -> Size:
    """The sizes in the settings; a 0 there is replaced by a value for this machine."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    memory = settings.memory_bytes or max(GIB, physical // 2)
    return Size(
        memory_bytes=memory,
        query_memory_bytes=settings.query_memory_bytes or memory // 3,
        threads=settings.threads or len(os.sched_getaffinity(0)),
    )


def config_xml(configuration: Configuration) -> str:
    """ClickHouse's configuration file. ClickHouse's defaults are for a large server: 5 GiB of marks, 10,000 threads.

    Five thread pools (for io, format parsing, and parts being loaded, cleaned or outdated) are created when chDB is
    imported, before it reads any file, so that they cannot be configured. The engine reads the size of its memory once a
    second, not ten times: at rest that is a part of what it costs.
    """
    cache = max(16 * MIB, configuration.memory_bytes // 32)
    threads = configuration.threads
    values = {
        "timezone": "UTC",
        "tmp_path": f"{configuration.temporary}/",
        "max_server_memory_usage": configuration.memory_bytes,
        "mark_cache_size": cache,
        "index_mark_cache_size": cache // 4,
        "primary_index_cache_size": cache,
        "uncompressed_cache_size": 0,
        "query_condition_cache_size": cache // 4,
        "parquet_metadata_cache_size": cache // 4,
        "iceberg_metadata_files_cache_size": MIB,
        "compiled_expression_cache_size": MIB,
        "text_index_tokens_cache_size": MIB,
        "text_index_header_cache_size": MIB,
        "text_index_postings_cache_size": MIB,
        "vector_similarity_index_cache_size": MIB,
        "unique_key_index_cache_size_bytes": MIB,
        "max_thread_pool_size": 200 + 50 * threads,
        "max_thread_pool_free_size": 4 * threads,
        "background_pool_size": max(2, threads // 2),
        "background_schedule_pool_size": 4,
        "background_schedule_pool_initial_size": 2,
        "memory_worker_period_ms": 1_000,
        "threadpool_local_fs_reader_pool_size": 8,
        "threadpool_writer_pool_size": 8,
        "prefetch_threadpool_pool_size": 8,
        "load_marks_threadpool_pool_size": 4 * threads,
    }
    lines = [f"    <{name}>{escape(str(value))}</{name}>" for name, value in values.items()]
    tables = [f"      <{name}>{value}</{name}>" for name, value in TABLES.items()]
    lines += ["    <merge_tree>", *tables, "    </merge_tree>"]
    return "<clickhouse>\n" + "\n".join(lines + _list_collection_lines(configuration.bucket)) + "\n</clickhouse>\n"


def _list_collection_lines(bucket: EngineReach) -> list[str]:
    """A named collection with the bucket's address and keys, so that statements hold neither. A statement cannot
    override the address, and so cannot send the keys elsewhere.
    """
    if not bucket.url:
        return []
    values = {
        "url": bucket.url,
        "access_key_id": bucket.access_key,
        "secret_access_key": bucket.secret_key,
        "use_environment_credentials": "0",
    }
    lines = [f'      <{name} overridable="false">{escape(value)}</{name}>' for name, value in values.items()]
    return [
        "    <named_collections>",
        f"    <{COLLECTION}>",
        *lines,
        f"    </{COLLECTION}>",
        "    </named_collections>",
    ]


def write_config_file(configuration: Configuration) -> None:
    """Replace ClickHouse's configuration file. Only this user can read it: it may hold the keys of the bucket."""
    write_file(configuration.config_file, config_xml(configuration).encode())


def declare_system_database(configuration: Configuration) -> None:
    """Keep the database `system` on the disk: only then do its tables have a CREATE statement."""
    file = configuration.data / "metadata" / "system.sql"
    file.parent.mkdir(mode=0o700, exist_ok=True)
    if not file.exists():
        write_file(file, f"ATTACH DATABASE _ UUID '{uuid.uuid4()}'\nENGINE = Atomic\n".encode())


def blank_bucket_keys(configuration: Configuration) -> None:
    """Blank the keys of the bucket in ClickHouse's file, after the engine has read them. The file is overwritten in place
    by a single write, because the engine reads the same file again for each handle.
    """
    if not configuration.bucket.url:
        return
    size = configuration.config_file.stat().st_size
    plain = config_xml(dataclasses.replace(configuration, bucket=EngineReach())).encode()
    with open_existing(configuration.config_file) as file:
        os.pwrite(file.fileno(), plain.ljust(size), 0)


def query_settings(configuration: Configuration) -> dict[str, str]:
    """Default settings of every statement.

    The three compilers are off: they need memory that is both writable and executable, which a hardened systemd unit
    forbids. The engine's log tables are off: they do not exist unless the configuration file names them, and if they
    did, they would grow without limit. Hive partitioning is off: a part of a path such as `day=7` would silently replace
    the column of that name. `url()` is tried once: there is no network, and ten tries with pauses took over 100 s.
    """
    return {
        "async_insert": "0",
        "http_max_tries": "1",
        "max_threads": str(configuration.threads),
        "max_memory_usage": str(configuration.query_memory_bytes),
        "result_overflow_mode": "throw",
        "timeout_overflow_mode": "throw",
        "use_hive_partitioning": "0",
        "compile_expressions": "0",
        "compile_aggregate_expressions": "0",
        "compile_sort_description": "0",
        "log_queries": "0",
        "log_query_threads": "0",
        "log_query_views": "0",
        "log_profile_events": "0",
        "log_processors_profiles": "0",
    }
