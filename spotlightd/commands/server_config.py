"""The command that writes the configuration of a ClickHouse server with the bucket beside its own disk."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from spotlightd.clients.clickhouse.server_config import (
    KEYS_FILE,
    PLACES_FILE,
    Keys,
    ServerStorage,
    keys_xml,
    places_xml,
)
from spotlightd.commands.output import Out
from spotlightd.errors import SettingsError
from spotlightd.model.bucket import PREFIX
from spotlightd.model.dataset import NAME
from spotlightd.runtime.access import BUCKET_NAME, secret
from spotlightd.runtime.instance import bucket_of
from spotlightd.settings.settings import Settings

SERVERS_FOLDER = "/etc/clickhouse-server/config.d"
LEAST_CACHE_BYTES = 64 << 20  # a cache that holds no column of a large part is only in the way
MOST_PERCENT = 90


async def server_config(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Write both files into DIR; those that are there already are replaced only when that was asked for."""
    told = server_storage(settings)
    folder: Path = arguments.to
    wanted = {PLACES_FILE: (places_xml(told), 0o640), KEYS_FILE: (keys_xml(told), 0o600)}
    _write_all(folder, wanted, replace=arguments.replace)
    said = (
        f"wrote {folder / PLACES_FILE} and, with the keys in it, {folder / KEYS_FILE}: both belong into {SERVERS_FOLDER}, "
        "owned by the server's user (chown clickhouse:); then restart the server"
    )
    out.say(said, {"files": [str(folder / name) for name in wanted], "belong": SERVERS_FOLDER})
    return 0


def server_storage(settings: Settings) -> ServerStorage:
    """What a server is told of the bucket and of its cold disk. SettingsError for what could harm the archive."""
    ours, cold = settings.bucket, settings.storage
    if ours.kind != "s3":
        raise SettingsError(
            "setting bucket.kind is `folder`: a server's cold disk needs an S3 store (bucket.kind = s3)"
        )
    reach = bucket_of(settings)[1]
    _in_bounds(settings)
    return ServerStorage(
        archive_url=reach.url,
        archive_keys=Keys(reach.access_key, reach.secret_key),
        cold_url=_cold_url(settings),
        cold_keys=_cold_keys(settings, reach.access_key),
        policy=cold.policy,
        region=ours.region,
        cache_bytes=cold.cache_bytes,
        free_percent=cold.free_percent,
        connect_seconds=ours.connect_seconds,
        read_seconds=cold.read_seconds,
        retries=cold.retries,
    )


def _cold_keys(settings: Settings, archives: str) -> Keys:
    cold = settings.storage
    found = Keys(
        secret(cold.access_key_file, "storage.access_key_file"), secret(cold.secret_key_file, "storage.secret_key_file")
    )
    if found.access_key == archives:
        raise SettingsError(
            "setting storage.access_key_file holds the archive's key: the cold disk deletes, so it is to have a key of its "
            "own that can do nothing outside of storage.prefix"
        )
    return found


def _cold_url(settings: Settings) -> str:
    """Where the cold disk's names begin. Its key may delete there, so no name of the archive can begin so."""
    ours, cold = settings.bucket, settings.storage
    name, prefix = cold.name or ours.name, cold.prefix.strip("/") + "/"
    if not BUCKET_NAME.fullmatch(name):
        raise SettingsError(f"setting storage.name: {name!r} is no name of a bucket: 3 to 63 of a-z, 0-9, . and -")
    if not PREFIX.fullmatch(prefix):
        raise SettingsError(f"setting storage.prefix: {cold.prefix!r} is to be words of letters, digits and ._=-")
    archive = ours.prefix.strip("/") + "/" if ours.prefix.strip("/") else ""
    word = prefix.removeprefix(archive).partition("/")[0]
    if name == ours.name and (archive.startswith(prefix) or (prefix.startswith(archive) and NAME.fullmatch(word))):
        raise SettingsError(
            f"setting storage.prefix: {cold.prefix!r} is where the archive may have names: take one with a hyphen in it, "
            "such as clickhouse-parts/"
        )
    return f"{ours.url.rstrip('/')}/{name}/{prefix}"


def _in_bounds(settings: Settings) -> None:
    cold = settings.storage
    if not NAME.fullmatch(cold.policy) or cold.policy == "default":
        raise SettingsError(f"setting storage.policy: {cold.policy!r} is to be a word of a-z, 0-9 and _, not `default`")
    if cold.cache_bytes < LEAST_CACHE_BYTES:
        raise SettingsError(f"setting storage.cache_bytes is to be {LEAST_CACHE_BYTES} at least")
    if not 0 <= cold.free_percent <= MOST_PERCENT:
        raise SettingsError(f"setting storage.free_percent is to be 0 to {MOST_PERCENT}")
    if cold.read_seconds < 1 or cold.retries < 0:
        raise SettingsError("settings storage.read_seconds and storage.retries are to be 1 and 0 at least")


def _write_all(folder: Path, wanted: Mapping[str, tuple[str, int]], *, replace: bool) -> None:
    present = [name for name in wanted if os.path.lexists(folder / name)]
    if present and not replace:
        raise SettingsError(f"{folder / present[0]} is there already: say --replace, or another folder")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, (text, mode) in wanted.items():
            _write(folder / name, text, mode)
    except OSError as problem:
        raise SettingsError(f"{folder} cannot be written: {problem.strerror}") from None


def _write(path: Path, text: str, mode: int) -> None:
    """Whole or not at all, and never readable by more than it is to be, not even for a moment."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as out:
        out.write(text)
        os.fchmod(out.fileno(), mode)
    fresh.replace(path)
