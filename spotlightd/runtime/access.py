"""How secrets and addresses of stores are read from settings and checked before they are used."""

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


def bucket_address(ours: BucketSettings) -> SplitResult:
    """Where the store is. SettingsError for an address that is more or less than scheme, host and port."""
    wrong = SettingsError(
        f"setting bucket.url: {ours.url!r} is not like http://127.0.0.1:9000 or https://s3.example.org"
    )
    try:
        address = urlsplit(ours.url)
        bare = f"{address.scheme}://{address.hostname}" + (f":{address.port}" if address.port else "")
    except ValueError:
        raise wrong from None
    if address.scheme not in {"http", "https"} or not address.hostname or ours.url.lower().rstrip("/") != bare:
        raise wrong
    return address


def read_bucket_access(ours: BucketSettings) -> BucketAccess:
    """The keys of an S3 bucket and the beginning of our names in it. SettingsError for what cannot work."""
    prefix = ours.prefix.strip("/") + "/" if ours.prefix.strip("/") else ""
    if not PREFIX.fullmatch(prefix):
        raise SettingsError(
            f"setting bucket.prefix: {ours.prefix!r} is to be words of letters, digits and ._=- with / between"
        )
    if not BUCKET_NAME.fullmatch(ours.name):
        raise SettingsError(f"setting bucket.name: {ours.name!r} is no name of a bucket: 3 to 63 of a-z, 0-9, . and -")
    if not (ours.threads and ours.connect_seconds and ours.read_seconds):
        raise SettingsError("settings bucket.threads, bucket.connect_seconds and bucket.read_seconds must not be 0")
    access_key = read_secret(ours.access_key_file, "bucket.access_key_file")
    return BucketAccess(access_key, read_secret(ours.secret_key_file, "bucket.secret_key_file"), prefix)


def read_secret(file: str, setting: str) -> str:
    """A secret from a file that only we may read. SettingsError names the setting, never the value."""
    if not file:
        raise SettingsError(f"setting {setting} names no file")
    path = Path(file)
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="utf-8").strip()
    except OSError as problem:
        raise SettingsError(f"setting {setting}: {path} cannot be read: {problem.strerror}") from None
    if mode & 0o077:
        raise SettingsError(f"setting {setting}: {path} can be read by others: chmod 600 {path}")
    if len(text) < SHORTEST_SECRET or text.lower() in WELL_KNOWN:
        raise SettingsError(f"setting {setting}: {path} holds a secret that is too short or well known")
    return text
