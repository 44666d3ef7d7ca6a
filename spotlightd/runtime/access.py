"""Reads secrets and the bucket's address from the settings, and checks them before they are used."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from spotlightd.errors import SettingsError
from spotlightd.model.bucket import PREFIX, BucketAccess
from spotlightd.settings.stores import BucketSettings

SHORTEST_SECRET = 16
WELL_KNOWN = frozenset({
    "changeme", "password", "clickhouse", "admin", "spotlightd", "minioadmin",
    "akiaiosfodnn7example", "wjalrxutnfemi/k7mdeng/bpxrficyexamplekey",
})  # fmt: skip
BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)


def bucket_address(bucket: BucketSettings) -> SplitResult:
    """The address of the S3 store. SettingsError unless it is exactly scheme, host and port."""
    error = SettingsError(
        f"setting bucket.url: {bucket.url!r} is not like http://127.0.0.1:9000 or https://s3.example.org"
    )
    try:
        address = urlsplit(bucket.url)
        plain = f"{address.scheme}://{address.hostname}" + (f":{address.port}" if address.port else "")
    except ValueError:
        raise error from None
    if address.scheme not in {"http", "https"} or not address.hostname or bucket.url.lower().rstrip("/") != plain:
        raise error
    return address


def read_bucket_access(bucket: BucketSettings) -> BucketAccess:
    """The keys of an S3 bucket and the prefix of our objects. SettingsError for settings that cannot work."""
    prefix = bucket.prefix.strip("/") + "/" if bucket.prefix.strip("/") else ""
    if not PREFIX.fullmatch(prefix):
        raise SettingsError(
            f"setting bucket.prefix: {bucket.prefix!r} must be words of letters, digits and ._=- with / between"
        )
    if not BUCKET_NAME.fullmatch(bucket.name):
        raise SettingsError(
            f"setting bucket.name: {bucket.name!r} is no name of a bucket: 3 to 63 of a-z, 0-9, . and -"
        )
    if not (bucket.threads and bucket.connect_seconds and bucket.read_seconds):
        raise SettingsError("settings bucket.threads, bucket.connect_seconds and bucket.read_seconds must not be 0")
    access_key = read_secret(bucket.access_key_file, "bucket.access_key_file")
    return BucketAccess(access_key, read_secret(bucket.secret_key_file, "bucket.secret_key_file"), prefix)


def read_secret(file: str, setting: str) -> str:
    """A secret from a file that only our user may read. SettingsError names the setting, never the value."""
    if not file:
        raise SettingsError(f"setting {setting} names no file")
    path = Path(file)
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"setting {setting}: {path} cannot be read: {error.strerror}") from None
    if mode & 0o077:
        raise SettingsError(f"setting {setting}: {path} can be read by others: chmod 600 {path}")
    if len(text) < SHORTEST_SECRET or text.lower() in WELL_KNOWN:
        raise SettingsError(f"setting {setting}: {path} holds a secret that is too short or well known")
    return text
