"""Encryption of files as age does it (age-encryption.org), so that the program `age` reads what is written here.

Who writes needs the public key only: a host whose backups are read by somebody else cannot be made to show them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyrage
from pyrage import x25519

from spotlightd.errors import SettingsError, StoreError

PUBLIC, SECRET = "age1", "AGE-SECRET-KEY-1"
MOST_BYTES = 64 << 10
Transform = Callable[[Path, Path], None]
"""Writes the second file from the first."""


def load_encryption(file: Path) -> Transform:
    """Encrypt for the key in this file: a public key, or a secret one whose public key is meant."""
    recipients = [_read_recipient(key, file) for key in _read_keys(file, PUBLIC)]
    recipients += [_read_identity(key, file).to_public() for key in _read_keys(file, SECRET)]
    if not recipients:
        raise SettingsError(f"{file} holds no key: put a public key of age in it ({PUBLIC}…, `age-keygen -y`)")

    def encrypt(source: Path, target: Path) -> None:
        try:
            pyrage.encrypt_file(str(source), str(target), recipients)
        except (pyrage.EncryptError, OSError) as problem:
            raise StoreError(f"{source} cannot be encrypted: {problem}") from problem

    return encrypt


def load_decryption(file: Path) -> Transform:
    """Decrypt with the secret keys in this file."""
    identities = [_read_identity(key, file) for key in _read_keys(file, SECRET)]
    if not identities:
        raise SettingsError(f"{file} holds no secret key of age ({SECRET}…)")

    def decrypt(source: Path, target: Path) -> None:
        try:
            pyrage.decrypt_file(str(source), str(target), identities)
        except (pyrage.DecryptError, OSError) as problem:
            raise StoreError(f"{source.name} cannot be decrypted with {file}: {problem}") from problem

    return decrypt


def _read_recipient(key: str, file: Path) -> x25519.Recipient:
    try:
        return x25519.Recipient.from_str(key)
    except pyrage.RecipientError:
        raise SettingsError(f"{file}: {key!r} is no public key of age") from None


def _read_identity(key: str, file: Path) -> x25519.Identity:
    try:
        return x25519.Identity.from_str(key)
    except pyrage.IdentityError:
        raise SettingsError(f"{file}: a line is like a secret key of age, and is none") from None


def _read_keys(file: Path, prefix: str) -> list[str]:
    """The lines that begin so. Lines with # are comments, as in the files of age-keygen."""
    try:
        with file.open(encoding="utf-8") as lines:
            text = lines.read(MOST_BYTES)
    except (OSError, ValueError) as problem:
        raise SettingsError(f"{file} cannot be read: {problem}") from None
    return [line.strip() for line in text.splitlines() if line.strip().startswith(prefix)]
