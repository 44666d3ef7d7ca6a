"""`spotlightd backup` and `spotlightd restore --trial`, as an operator runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spotlightd.cli import main
from spotlightd.flows.backup.record import read_backups
from tests.backup.conftest import State
from tests.backup.test_encryption import write_key


def test_a_backup_is_kept_encrypted_and_tried(state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    public, secret = write_key(tmp_path, "ours")
    folder, backups = str(state.settings.state_dir), str(state.backups)
    assert main(["backup", "--state", folder, "--to", backups, "--keep", "1", "--key", str(public), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert written["removed_backups"] == 1
    assert written["removed_objects"] == len(state.first.manifest.objects) if state.first else 0
    trial = ["restore", "--state", folder, "--backup", backups, "--trial"]
    assert main(trial) == 78
    assert "the backup is encrypted: name the file with its secret key (--key)" in capsys.readouterr().err
    assert set(read_backups(state.settings.state_dir)) == {"written"}
    assert main([*trial, "--key", str(secret)]) == 0
    assert "this was a trial: everything was there" in capsys.readouterr().out
    assert set(read_backups(state.settings.state_dir)) == {"written", "tried"}
    assert {path.name for path in (state.settings.state_dir / "backup").iterdir()} == {"lock", "written", "tried"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["backup", "--keep", "3"], "--keep belongs to --to"),
        (["backup", "--to", "/elsewhere", "--keep", "0"], "keep at least 1 backup"),
        (["restore", "--trial"], "--at, --key and --trial belong to --backup"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    state: State, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *rest = arguments
    assert main([name, "--state", str(state.settings.state_dir), *rest]) == 78
    assert sentence in capsys.readouterr().err
