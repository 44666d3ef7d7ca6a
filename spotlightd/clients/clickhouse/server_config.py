"""The configuration of a ClickHouse server that uses the bucket besides its own disk, as two XML files. Pure.

One file names the addresses and holds no secret. The other holds only the keys, and only the server's user can read it.
The server merges all files of the folder, element by element, so that the keys are in that one file and in no statement,
table or log. `hide_in_preprocessed` keeps them out of the copy of its configuration that the server writes to its data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from spotlightd.model.bucket import COLLECTION

DISK = "cold"
"""The name of the cold disk in statements: the cache in front of `STORE`."""
STORE = "cold_store"
STORAGE_FILE = "spotlightd-storage.xml"
KEYS_FILE = "spotlightd-storage-keys.xml"

ABOUT = """\
<!--
    /etc/clickhouse-server/config.d/spotlightd-storage.xml. Written by `spotlightd server-config`: change the settings, not
    this file. docs/operate.md says when it helps and what it does not promise. The keys are in spotlightd-storage-keys.xml.
-->
"""
ABOUT_KEYS = """\
<!--
    SECRET. /etc/clickhouse-server/config.d/spotlightd-storage-keys.xml, owned by the server's user, mode 0600.
-->
"""


@dataclass(frozen=True, slots=True)
class Keys:
    """The access key and the secret key of an S3 store."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ServerStorage:
    """Where the archive is read from, and where the cold disk stores its parts. Addresses end in `/`.

    When less than `free_percent` of the hot disk is free, the server moves parts to the cold disk by itself.
    """

    archive_url: str
    archive_keys: Keys
    cold_url: str
    cold_keys: Keys
    policy: str
    region: str
    cache_bytes: int
    free_percent: float
    connect_seconds: float
    read_seconds: float
    retries: int


def storage_xml(storage: ServerStorage) -> str:
    """The file without keys: the named collection for reading the archive, the disks, and the storage policy of tables."""
    archive = _locked_elements({"url": storage.archive_url, "use_environment_credentials": "0"})
    disks = [*_element("disks", _disks(storage)), *_element("policies", _policy(storage))]
    lines = [
        *_element("named_collections", _element(COLLECTION, archive)),
        *_element("storage_configuration", disks),
    ]
    return ABOUT + _file(lines)


def keys_xml(storage: ServerStorage) -> str:
    """The file with the keys, in elements of the same names as in the other file."""
    lines = [
        *_element(
            "named_collections", _element(COLLECTION, _key_elements(storage.archive_keys, ' overridable="false"'))
        ),
        *_element("storage_configuration", _element("disks", _element(STORE, _key_elements(storage.cold_keys)))),
    ]
    return ABOUT_KEYS + _file(lines)


def _disks(storage: ServerStorage) -> list[str]:
    """The cold disk and its cache. Their metadata is below the server's data folder.

    The retry settings of a disk need the prefix `s3_`. Without it they are silently ignored, there are some 500 retries,
    and a read from an unreachable store hangs. The store is not checked at the start, so that the server starts without it
    and answers from the hot disk.
    """
    store = {
        "type": "s3",
        "endpoint": storage.cold_url,
        "region": storage.region,
        "use_environment_credentials": "0",
        "skip_access_check": "1",
        "connect_timeout_ms": f"{storage.connect_seconds * 1000:.0f}",
        "request_timeout_ms": f"{storage.read_seconds * 1000:.0f}",
        "s3_retry_attempts": str(storage.retries),
        "s3_max_single_read_retries": str(storage.retries),
    }
    cache = {"type": "cache", "disk": STORE, "path": DISK, "max_size": str(storage.cache_bytes)}
    return [*_element(STORE, _elements(store)), *_element(DISK, _elements(cache))]


def _policy(storage: ServerStorage) -> list[str]:
    """The storage policy. Its hot volume has the same name as in the default policy: existing tables can change only then."""
    hot = _element("default", _elements({"disk": "default"}))
    cold = _element("cold", _elements({"disk": DISK}))
    factor = _elements({"move_factor": f"{storage.free_percent / 100:g}"})
    return _element(storage.policy, [*_element("volumes", [*hot, *cold]), *factor])


def _key_elements(keys: Keys, more: str = "") -> list[str]:
    keys_by_name = {"access_key_id": keys.access_key, "secret_access_key": keys.secret_key}
    return [
        f'<{name}{more} hide_in_preprocessed="true">{escape(value)}</{name}>' for name, value in keys_by_name.items()
    ]


def _locked_elements(values: Mapping[str, str]) -> list[str]:
    """Elements that no statement may override: else the keys could be sent to another address."""
    return [f'<{name} overridable="false">{escape(value)}</{name}>' for name, value in values.items()]


def _elements(values: Mapping[str, str]) -> list[str]:
    return [f"<{name}>{escape(value)}</{name}>" for name, value in values.items()]


def _element(name: str, children: Sequence[str]) -> list[str]:
    return [f"<{name}>", *(f"    {line}" for line in children), f"</{name}>"]


def _file(lines: Sequence[str]) -> str:
    return "\n".join(_element("clickhouse", lines)) + "\n"
