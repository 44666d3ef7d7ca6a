"""The configuration of a ClickHouse server that has the bucket beside its own disk, as two files of XML. Pure.

One names the places and holds no secret; the other holds the keys only, and is for the server's user alone. The server
merges all files of its folder, element by element, so a key stands in that one file and in no statement, table or log.
`hide_in_preprocessed` keeps it out of the copy of its whole configuration that the server writes beside its data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from spotlightd.model.bucket import COLLECTION

DISK = "cold"
"""The cold disk as statements name it: the cache in front of `STORE`."""
STORE = "cold_store"
PLACES_FILE = "spotlightd-storage.xml"
KEYS_FILE = "spotlightd-storage-keys.xml"

ABOUT = """\
<!--
    For /etc/clickhouse-server/config.d/spotlightd-storage.xml: written by `spotlightd server-config`, change the settings
    instead. When it is of use, and what it does not promise: docs/operate.md. The keys are in spotlightd-storage-keys.xml.
-->
"""
ABOUT_KEYS = """\
<!--
    SECRET. For /etc/clickhouse-server/config.d/spotlightd-storage-keys.xml, of the server's user, mode 0600.
-->
"""


@dataclass(frozen=True, slots=True)
class Keys:
    """Two keys of an S3 store."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ServerStorage:
    """Where the archive is read from, and where the cold disk keeps its parts: addresses end in `/`.

    `free_percent` of the hot disk are to stay free: below it the server moves parts to the cold one by itself.
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


def places_xml(told: ServerStorage) -> str:
    """All but the keys: the named collection that reads the archive, the disks, and the policy of tables that use them."""
    archive = _fixed({"url": told.archive_url, "use_environment_credentials": "0"})
    storage = [*_element("disks", _disks(told)), *_element("policies", _policy(told))]
    lines = [
        *_element("named_collections", _element(COLLECTION, archive)),
        *_element("storage_configuration", storage),
    ]
    return ABOUT + _file(lines)


def keys_xml(told: ServerStorage) -> str:
    """The keys and nothing else, in elements of the same names as above."""
    lines = [
        *_element("named_collections", _element(COLLECTION, _secrets(told.archive_keys, ' overridable="false"'))),
        *_element("storage_configuration", _element("disks", _element(STORE, _secrets(told.cold_keys)))),
    ]
    return ABOUT_KEYS + _file(lines)


def _disks(told: ServerStorage) -> list[str]:
    """Paths are the server's own: what it knows of its objects, and the cache, lie below its folder of data. A disk's
    retries need the words with `s3_`: without them they are silently 500 or so, and a read of a store that is gone hangs.
    The store is not tried at the start: a server that starts without it is to answer from the hot disk.
    """
    store = {
        "type": "s3",
        "endpoint": told.cold_url,
        "region": told.region,
        "use_environment_credentials": "0",
        "skip_access_check": "1",
        "connect_timeout_ms": f"{told.connect_seconds * 1000:.0f}",
        "request_timeout_ms": f"{told.read_seconds * 1000:.0f}",
        "s3_retry_attempts": str(told.retries),
        "s3_max_single_read_retries": str(told.retries),
    }
    cache = {"type": "cache", "disk": STORE, "path": DISK, "max_size": str(told.cache_bytes)}
    return [*_element(STORE, _plain(store)), *_element(DISK, _plain(cache))]


def _policy(told: ServerStorage) -> list[str]:
    """The hot volume has the name that it has in the server's own policy: else a table that is there could not change."""
    hot = _element("default", _plain({"disk": "default"}))
    cold = _element("cold", _plain({"disk": DISK}))
    factor = _plain({"move_factor": f"{told.free_percent / 100:g}"})
    return _element(told.policy, [*_element("volumes", [*hot, *cold]), *factor])


def _secrets(keys: Keys, more: str = "") -> list[str]:
    found = {"access_key_id": keys.access_key, "secret_access_key": keys.secret_key}
    return [f'<{name}{more} hide_in_preprocessed="true">{escape(value)}</{name}>' for name, value in found.items()]


def _fixed(values: Mapping[str, str]) -> list[str]:
    """Values that no statement may replace: else the keys could be sent to another address."""
    return [f'<{name} overridable="false">{escape(value)}</{name}>' for name, value in values.items()]


def _plain(values: Mapping[str, str]) -> list[str]:
    return [f"<{name}>{escape(value)}</{name}>" for name, value in values.items()]


def _element(name: str, inside: Sequence[str]) -> list[str]:
    return [f"<{name}>", *(f"    {line}" for line in inside), f"</{name}>"]


def _file(lines: Sequence[str]) -> str:
    return "\n".join(_element("clickhouse", lines)) + "\n"
