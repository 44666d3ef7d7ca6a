"""`server-config`: writes the configuration of a ClickHouse server that uses the bucket beside its own disk."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from spotlightd.clients.clickhouse.server_config import (
    KEYS_FILE,
    STORAGE_FILE,
    Keys,
    ServerStorage,
    keys_xml,
    storage_xml,
)
from spotlightd.commands.command import Command, argument
from spotlightd.commands.output import Out
from spotlightd.errors import SettingsError
from spotlightd.files import write_file
from spotlightd.model.bucket import PREFIX
from spotlightd.model.dataset import NAME
from spotlightd.runtime.access import BUCKET_NAME, read_secret
from spotlightd.runtime.instance import make_bucket
from spotlightd.settings.describe import describe_text
from spotlightd.settings.settings import Settings

SERVER_FOLDER = "/etc/clickhouse-server/config.d"
LEAST_CACHE_BYTES = 64 << 20  # a smaller cache does not hold one column of a large part, and only costs time
MOST_PERCENT = 90


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Write both files into DIR. Existing files are replaced only with --replace."""
    storage = make_server_storage(settings)
    folder: Path = arguments.to
    files = {STORAGE_FILE: (storage_xml(storage), 0o640), KEYS_FILE: (keys_xml(storage), 0o600)}
    _write_all(folder, files, replace=arguments.replace)
    out.result(
        f"wrote {folder / STORAGE_FILE} and, with the keys in it, {folder / KEYS_FILE}: both belong into {SERVER_FOLDER}, "
        "owned by the server's user (chown clickhouse:); then restart the server",
        {"files": [str(folder / name) for name in files], "belong": SERVER_FOLDER},
    )
    return 0


def make_server_storage(settings: Settings) -> ServerStorage:
    """The server's view of the bucket and of its cold disk. SettingsError for settings that could harm the archive."""
    bucket, cold = settings.bucket, settings.storage
    if bucket.kind != "s3":
        raise SettingsError(
            "setting bucket.kind is `folder`: a server's cold disk needs an S3 store (bucket.kind = s3)"
        )
    reach = make_bucket(settings)[1]
    _check_limits(settings)
    return ServerStorage(
        archive_url=reach.url,
        archive_keys=Keys(reach.access_key, reach.secret_key),
        cold_url=_cold_url(settings),
        cold_keys=_read_cold_keys(settings, reach.access_key),
        policy=cold.policy,
        region=bucket.region,
        cache_bytes=cold.cache_bytes,
        free_percent=cold.free_percent,
        connect_seconds=bucket.connect_seconds,
        read_seconds=cold.read_seconds,
        retries=cold.retries,
    )


def _read_cold_keys(settings: Settings, archive_key: str) -> Keys:
    cold = settings.storage
    keys = Keys(
        read_secret(cold.access_key_file, "storage.access_key_file"),
        read_secret(cold.secret_key_file, "storage.secret_key_file"),
    )
    if keys.access_key == archive_key:
        raise SettingsError(
            "setting storage.access_key_file holds the archive's key: the cold disk deletes, so it must have a key of its "
            "own that can do nothing outside of storage.prefix"
        )
    return keys


def _cold_url(settings: Settings) -> str:
    """The address of the cold disk. Its key may delete there, so no name of the archive may begin with its prefix."""
    bucket, cold = settings.bucket, settings.storage
    name, prefix = cold.name or bucket.name, cold.prefix.strip("/") + "/"
    if not BUCKET_NAME.fullmatch(name):
        raise SettingsError(
            f"setting storage.name: {describe_text(name)} is no name of a bucket: 3 to 63 of a-z, 0-9, . and -"
        )
    if not PREFIX.fullmatch(prefix):
        raise SettingsError(
            f"setting storage.prefix: {describe_text(cold.prefix)} must be words of letters, digits and ._=-"
        )
    archive = bucket.prefix.strip("/") + "/" if bucket.prefix.strip("/") else ""
    first_part = prefix.removeprefix(archive).partition("/")[0]
    if name == bucket.name and (
        archive.startswith(prefix) or (prefix.startswith(archive) and NAME.fullmatch(first_part))
    ):
        raise SettingsError(
            f"setting storage.prefix: {cold.prefix!r} is where the archive may have names: use one with a hyphen in it, "
            "such as clickhouse-parts/"
        )
    return f"{bucket.url.rstrip('/')}/{name}/{prefix}"


def _check_limits(settings: Settings) -> None:
    cold = settings.storage
    if not NAME.fullmatch(cold.policy) or cold.policy == "default":
        raise SettingsError(
            f"setting storage.policy: {describe_text(cold.policy)} must be a word of a-z, 0-9 and _, not `default`"
        )
    if cold.cache_bytes < LEAST_CACHE_BYTES:
        raise SettingsError(f"setting storage.cache_bytes must be at least {LEAST_CACHE_BYTES}")
    if not 0 <= cold.free_percent <= MOST_PERCENT:
        raise SettingsError(f"setting storage.free_percent must be 0 to {MOST_PERCENT}")
    if cold.read_seconds < 1 or cold.retries < 0:
        raise SettingsError("settings storage.read_seconds and storage.retries must be at least 1 and 0")


def _write_all(folder: Path, files: Mapping[str, tuple[str, int]], *, replace: bool) -> None:
    present = [name for name in files if os.path.lexists(folder / name)]
    if present and not replace:
        raise SettingsError(f"{folder / present[0]} exists already: use --replace, or another folder")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, (text, mode) in files.items():
            write_file(folder / name, text.encode(), mode)
    except OSError as error:
        raise SettingsError(f"{folder} cannot be written: {error.strerror}") from None


COMMAND = Command(
    "server-config",
    "write the configuration of a ClickHouse server that stores cold parts in the bucket's store",
    "spotlightd server-config --config /etc/spotlightd.toml --to /etc/clickhouse-server/config.d",
    (
        argument("--to", type=Path, required=True, metavar="DIR", help="folder to write the two files into"),
        argument("--replace", action="store_true", help="replace files that exist already"),
    ),
    run,
)
