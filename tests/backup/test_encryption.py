"""A backup that is encrypted for a key of age: who has the secret key has everything, who has not has nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyrage
import pytest
from pyrage import x25519

from spotlightd.clients.age import load_decryption, load_encryption
from spotlightd.clients.bucket.folder import FolderBucket
from spotlightd.datasets.trades import trades
from spotlightd.errors import SettingsError, StoreError
from spotlightd.flows.backup.writer import write_backup
from spotlightd.ports.progress import ignore_progress
from spotlightd.runtime.restoring import restore_state
from tests.archive.archive_world import tick
from tests.backup.conftest import DAYS, State, read_facts


def write_key(folder: Path, name: str) -> tuple[Path, Path]:
    """The files with a new public and secret key, as age-keygen writes them."""
    identity = x25519.Identity.generate()
    public, secret = folder / f"{name}.public", folder / f"{name}.secret"
    public.write_text(f"{identity.to_public()}\n")
    secret.write_text(f"# public key: {identity.to_public()}\n{identity}\n")
    return public, secret


async def test_an_encrypted_backup_is_incremental_and_only_the_secret_key_opens_it(
    state: State, tmp_path: Path
) -> None:
    public, secret = write_key(tmp_path, "ours")
    async with state.context() as context:
        sealing = replace(context, encrypt=load_encryption(public))
        first = await write_backup(sealing, ignore_progress)
        assert first.new_objects == len(first.manifest.objects)  # those of the plain backup do not count
        again = await write_backup(sealing, ignore_progress)
        assert {item.kind for item in again.manifest.objects if item not in first.manifest.objects} <= {
            "ledger",
            "rows",
        }
        assert again.new_objects <= 1
        await context.warehouse.insert(trades, [tick(DAYS[2], 903)])
        assert (await write_backup(sealing, ignore_progress)).new_objects >= 1
    stored = [path for path in (state.backups / "sealed").rglob("*") if path.is_file()]
    assert all(path.read_bytes().startswith(b"age-encryption.org/v1\n") for path in stored)
    target = replace(state.settings, state_dir=tmp_path / "restored")
    async with FolderBucket(state.backups) as bucket:
        with pytest.raises(SettingsError, match="the backup is encrypted: name the file with its secret key"):
            await restore_state(target, bucket, "", first.manifest.started, ignore_progress)
        other = load_decryption(write_key(tmp_path, "other")[1])
        with pytest.raises(StoreError, match=r"cannot be decrypted with .*other\.secret"):
            await restore_state(target, bucket, "", first.manifest.started, ignore_progress, other)
        await restore_state(target, bucket, "", first.manifest.started, ignore_progress, load_decryption(secret))
    assert await read_facts(target) == state.facts


def test_a_file_of_a_key_that_is_none_is_refused_without_showing_it(tmp_path: Path) -> None:
    public, secret = write_key(tmp_path, "ours")
    for name, load, text, sentence in (
        ("empty", load_encryption, "# nothing\n", "holds no key"),
        ("typo", load_encryption, public.read_text()[:-4], "is no public key of age"),
        ("public", load_decryption, public.read_text(), "holds no secret key of age"),
        ("secret", load_decryption, secret.read_text()[:-4], "is like a secret key of age, and is none"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(SettingsError, match=sentence) as problem:
            load(tmp_path / name)
        assert secret.read_text().splitlines()[1][20:40] not in str(problem.value)


def test_a_secret_key_stands_for_its_public_key(tmp_path: Path) -> None:
    _, secret = write_key(tmp_path, "ours")
    (tmp_path / "plain").write_bytes(b"text")
    load_encryption(secret)(tmp_path / "plain", tmp_path / "sealed")
    assert (
        pyrage.decrypt((tmp_path / "sealed").read_bytes(), [x25519.Identity.from_str(secret.read_text().split()[-1])])
        == b"text"
    )
