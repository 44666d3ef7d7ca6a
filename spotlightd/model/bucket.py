"""Keys of the bucket, and the name by which the engine knows the bucket. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from spotlightd.errors import StoreError

COLLECTION = "archive"
"""The named collection in the engine's configuration with the bucket's address and access keys."""

PROBE_PREFIX = "_probe/"
"""The prefix of probe objects. No other key starts so, because a word starts with a letter or a digit."""

DOCUMENT_PREFIX = "documents/"
"""The prefix of raw documents. The dataset `documents` has no partitions, so the archive stores nothing there."""

PREFIX = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._=-]*/)*", re.ASCII)
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]{0,199}", re.ASCII)
_PREFIX_TEXT = re.compile(r"[A-Za-z0-9._=/-]*", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MOST_CHARACTERS = 800


@dataclass(frozen=True, slots=True)
class BucketAccess:
    """The two access keys of an S3 bucket, and the prefix of all our keys in it: empty, or ending in `/`."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class EngineReach:
    """What the embedded engine may use of the bucket: a folder to read, or a port to connect to together with the
    bucket's address (prefix included) and access keys for its configuration.
    """

    folder: str = ""
    port: int = 0
    url: str = ""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)


def is_key(text: str) -> bool:
    """A key is words of at most 200 letters, digits and `._=-` with `/` between them; each starts with a letter or digit."""
    return len(text) <= _MOST_CHARACTERS and all(_SEGMENT.fullmatch(segment) for segment in text.split("/"))


def check_key(key: str) -> str:
    """The key itself. StoreError when it is not a valid key, so that no path and no address is built from it."""
    if not is_key(key):
        raise StoreError(
            f"{key[:80]!r} is not a key of the bucket: use words of letters, digits and ._=- with / between them"
        )
    return key


def check_prefix(prefix: str) -> str:
    """The prefix itself. StoreError when no key can start so."""
    if not _PREFIX_TEXT.fullmatch(prefix) or len(prefix) > _MOST_CHARACTERS:
        raise StoreError(f"{prefix[:80]!r} is not the start of a key of the bucket")
    return prefix


def check_digest(text: str) -> str:
    """The digest itself. StoreError when it is not a SHA-256."""
    if not _DIGEST.fullmatch(text):
        raise StoreError(f"{text[:80]!r} is not a SHA-256 (64 digits of 0-9 and a-f)")
    return text


def document_key(digest: str) -> str:
    """The key of a raw document in the bucket."""
    return f"{DOCUMENT_PREFIX}{check_digest(digest)[:2]}/{digest[2:4]}/{digest}"


EXACTLY = ("use_hive_partitioning = 0", "input_format_parquet_allow_missing_columns = 0")


def union_tables(tables: Sequence[str], *more: str) -> str:
    """The text after FROM for several table functions of the engine; `more` are further settings. The settings stop the
    engine from replacing a column `day` by a word like `day=7` in a path, and from filling in a column that a file lacks.
    """
    if not tables:
        raise StoreError("a table of no objects cannot be read")
    union = " UNION ALL ".join(f"SELECT * FROM {table}" for table in tables)
    return f"(SELECT * FROM ({union}) SETTINGS {', '.join((*EXACTLY, *more))})"


def key_pattern(keys: Sequence[str]) -> str:
    """Several keys as one pattern of the engine: `{a/1,b/2}`. No key contains a brace or a comma."""
    return check_key(keys[0]) if len(keys) == 1 else f"{{{','.join(map(check_key, keys))}}}"


def quote(text: str) -> str:
    """The text as a literal of SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
