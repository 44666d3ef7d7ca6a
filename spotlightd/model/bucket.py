"""Keys of the bucket, and the name by which the engine knows it. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from spotlightd.errors import StoreError

COLLECTION = "archive"
"""The named collection in the engine's configuration that holds the bucket's address and its keys."""

PROBES = "_probe/"
"""Where probes are put. No key begins so: a word begins with a letter or a digit."""

DOCUMENTS = "documents/"
"""Where raw documents are. The dataset of that name has no partitions, so the archive puts nothing there."""

PREFIX = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._=-]*/)*", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]{0,199}", re.ASCII)
_BEGINNING = re.compile(r"[A-Za-z0-9._=/-]*", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LONGEST = 800


@dataclass(frozen=True, slots=True)
class Access:
    """What opens an S3 bucket: its two keys; and the prefix of all our names in it, empty or ending in `/`."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Reach:
    """What of the bucket the embedded engine may reach: a folder to read, or a port to connect to and, for its
    configuration, the address of the bucket with its prefix, and the keys.
    """

    folder: str = ""
    port: int = 0
    url: str = ""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)


def is_key(text: str) -> bool:
    """Words of at most 200 letters, digits and `._=-`, beginning with a letter or digit, and `/` between them."""
    return len(text) <= _LONGEST and all(_WORD.fullmatch(word) for word in text.split("/"))


def checked(key: str) -> str:
    """The key itself. StoreError for what is none: no path and no address is built from it."""
    if not is_key(key):
        raise StoreError(
            f"{key[:80]!r} is no key of the bucket: use words of letters, digits and ._=- with / between them"
        )
    return key


def beginning(prefix: str) -> str:
    """The prefix itself. StoreError when no key can begin so."""
    if not _BEGINNING.fullmatch(prefix) or len(prefix) > _LONGEST:
        raise StoreError(f"{prefix[:80]!r} is no beginning of a key of the bucket")
    return prefix


def digest_of(text: str) -> str:
    if not _DIGEST.fullmatch(text):
        raise StoreError(f"{text[:80]!r} is not a SHA-256 (64 digits of 0-9 and a-f)")
    return text


def document_key(digest: str) -> str:
    """Under which key a raw document is in the bucket."""
    return f"{DOCUMENTS}{digest_of(digest)[:2]}/{digest[2:4]}/{digest}"


EXACTLY = ("use_hive_partitioning = 0", "input_format_parquet_allow_missing_columns = 0")


def united(tables: Sequence[str], *more: str) -> str:
    """What stands behind FROM for several table functions of the engine; `more` are settings. Words like `day=7` in a
    path would silently replace the column of that name, and a column that a file has not would be filled in: not here.
    """
    if not tables:
        raise StoreError("a table of no objects cannot be read")
    each = " UNION ALL ".join(f"SELECT * FROM {table}" for table in tables)
    return f"(SELECT * FROM ({each}) SETTINGS {', '.join((*EXACTLY, *more))})"


def listed(keys: Sequence[str]) -> str:
    """Several keys as the engine reads them in one: `{a/1,b/2}`. No key has a brace or a comma."""
    return checked(keys[0]) if len(keys) == 1 else f"{{{','.join(map(checked, keys))}}}"


def quoted(text: str) -> str:
    """A text literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
