"""Reads secrets and the bucket's address from the settings, and checks them before they are used."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from spotlightd.errors import SettingsError
from spotlightd.log import add_secret
from spotlightd.model.bucket import PREFIX, BucketAccess
from spotlightd.redact import mask_address
from spotlightd.settings.describe import FILE_SUFFIX, describe_path, describe_text
from spotlightd.settings.settings import Settings
from spotlightd.settings.stores import BucketSettings

SHORTEST_SECRET = 16
LONGEST_SECRET = 4_096
PUBLIC_FILES = ("ca_file",)
WELL_KNOWN = frozenset({
    "changeme", "password", "clickhouse", "admin", "spotlightd", "minioadmin",
    "akiaiosfodnn7example", "wjalrxutnfemi/k7mdeng/bpxrficyexamplekey",
})  # fmt: skip
BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)


def store_address(url: str, setting: str) -> SplitResult:
    """The address of a store. SettingsError unless it is exactly scheme, host and port."""
    error = SettingsError(
        f"setting {setting}: {mask_address(url)!r} is not like http://127.0.0.1:9000 or https://s3.example.org"
    )
    try:
        address = urlsplit(url)
        plain = f"{address.scheme}://{address.hostname}" + (f":{address.port}" if address.port else "")
    except ValueError:
        raise error from None
    if address.scheme not in {"http", "https"} or not address.hostname or url.lower().rstrip("/") != plain:
        raise error
    return address


def read_bucket_access(bucket: BucketSettings) -> BucketAccess:
    """The keys of an S3 bucket and the prefix of our objects. SettingsError for settings that cannot work."""
    prefix = bucket.prefix.strip("/") + "/" if bucket.prefix.strip("/") else ""
    if not PREFIX.fullmatch(prefix):
        raise SettingsError(
            f"setting bucket.prefix: {describe_text(bucket.prefix)} must be words of letters, digits and ._=- with / between"
        )
    if not BUCKET_NAME.fullmatch(bucket.name):
        raise SettingsError(
            f"setting bucket.name: {describe_text(bucket.name)} is no name of a bucket: 3 to 63 of a-z, 0-9, . and -"
        )
    if not (bucket.threads and bucket.connect_seconds and bucket.read_seconds):
        raise SettingsError("settings bucket.threads, bucket.connect_seconds and bucket.read_seconds must not be 0")
    access_key = read_secret(bucket.access_key_file, "bucket.access_key_file")
    return BucketAccess(access_key, read_secret(bucket.secret_key_file, "bucket.secret_key_file"), prefix)


def read_secret(file: str, setting: str) -> str:
    """A secret from a file that only our user may read; from then on the process shows it nowhere.

    SettingsError names the setting, never the value.
    """
    if not file:
        raise SettingsError(f"setting {setting} names no file")
    path = Path(file)
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise SettingsError(f"setting {setting}: {describe_path(file)} is not a file")
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"setting {setting}: {describe_path(file)} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(
            f"setting {setting}: {path} holds bytes that are no text: write the secret as UTF-8"
        ) from None
    if mode & 0o077:
        raise SettingsError(f"setting {setting}: {path} can be read by others: chmod 600 {path}")
    if len(text) < SHORTEST_SECRET or text.lower() in WELL_KNOWN:
        raise SettingsError(f"setting {setting}: {path} holds a secret that is too short or well known")
    add_secret(text)
    return text


def read_known_secrets(settings: Settings) -> Iterator[str]:
    """The secrets in the files that the settings name, as far as this user can read them; for what a command prints.

    Whether such a file is as it must be is checked where it is used.
    """
    files = [*settings.streams.key_files.values(), *_list_files(asdict(settings))]
    for file in filter(None, files):
        with suppress(OSError, UnicodeDecodeError):
            path = Path(file)
            if stat.S_ISREG(path.stat().st_mode):
                with path.open(encoding="utf-8") as opened:
                    yield opened.read(LONGEST_SECRET).strip()


def _list_files(values: Mapping[str, Any]) -> Iterator[str]:
    """The values of all settings that name a file with a secret."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _list_files(value)
        elif name.endswith(FILE_SUFFIX) and name not in PUBLIC_FILES and isinstance(value, str):
            yield value
