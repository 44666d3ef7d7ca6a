"""One daemon for each state folder."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from spotlightd.engine.lock import state_lock, wait_for_lock
from spotlightd.errors import SettingsError, StoreError

SECOND = """
import sys
from pathlib import Path
from spotlightd.engine.lock import state_lock
from spotlightd.errors import SettingsError
try:
    with state_lock(Path(sys.argv[1])):
        pass
except SettingsError as problem:
    print(problem, file=sys.stderr)
    sys.exit(78)
"""


def second(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SECOND, str(folder)], capture_output=True, text=True, timeout=30, check=False
    )


def test_a_second_daemon_on_the_same_folder_is_refused_in_a_sentence_and_touches_nothing(tmp_path: Path) -> None:
    with state_lock(tmp_path):
        before = {path: path.read_bytes() for path in tmp_path.rglob("*")}
        refused = second(tmp_path)
        assert refused.returncode == 78
        assert (
            f"is in use by another spotlightd (process {os.getpid()}): stop that one, or set another" in refused.stderr
        )
        assert {path: path.read_bytes() for path in tmp_path.rglob("*")} == before
    assert second(tmp_path).returncode == 0


def test_a_missing_folder_is_created_for_this_user_only(tmp_path: Path) -> None:
    with state_lock(tmp_path / "a" / "b") as state:
        assert stat.S_IMODE(state.folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((state.folder / "lock").stat().st_mode) == 0o600


def test_a_folder_that_others_can_read_is_closed_to_them(tmp_path: Path) -> None:
    """Even where its owner may not write: nothing is added to what the owner may do."""
    for mode, closed in ((0o777, 0o700), (0o755, 0o700), (0o2750, 0o700), (0o700, 0o700)):
        tmp_path.chmod(mode)
        with state_lock(tmp_path):
            assert stat.S_IMODE(tmp_path.stat().st_mode) == closed


def test_a_folder_that_holds_other_things_is_refused_and_not_closed(tmp_path: Path) -> None:
    """`--state /` of root must not close the machine to everybody."""
    tmp_path.chmod(0o755)
    (tmp_path / "etc").mkdir()
    with pytest.raises(SettingsError, match="set state_dir to a folder of its own"), state_lock(tmp_path):
        pass
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["etc"]
    tmp_path.chmod(0o700)
    with state_lock(tmp_path):
        pass


def test_a_folder_in_use_is_not_even_closed(tmp_path: Path) -> None:
    with state_lock(tmp_path):
        tmp_path.chmod(0o755)
        assert second(tmp_path).returncode == 78
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_is_refused_and_not_touched(tmp_path: Path) -> None:
    os.chown(tmp_path, 4242, 4242)
    reason = "belongs to user 4242, and this is user root: run spotlightd as user 4242"
    with pytest.raises(SettingsError, match=reason), state_lock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_links_that_were_planted_in_the_folder_are_not_followed(tmp_path: Path) -> None:
    mine, state = tmp_path / "mine", tmp_path / "state"
    mine.write_text("mine")
    state.mkdir(mode=0o700)
    (state / f".writable-{os.getpid()}").symlink_to(mine)
    with state_lock(state):
        pass
    (state / "lock").unlink()
    (state / "lock").symlink_to(mine)
    with pytest.raises(SettingsError, match="state_dir"), state_lock(state):
        pass
    assert mine.read_text() == "mine"


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(SettingsError, match="state_dir"), state_lock(tmp_path / "file"):
        pass


def test_the_lock_does_not_stay_with_child_processes(tmp_path: Path) -> None:
    with state_lock(tmp_path):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    try:
        with state_lock(tmp_path):
            pass
    finally:
        child.communicate(b"\n", timeout=30)


def test_the_wait_for_an_engine_that_does_not_end_is_bounded(tmp_path: Path) -> None:
    first = wait_for_lock(tmp_path / "lock", 1)
    with pytest.raises(StoreError, match="another engine holds"):
        wait_for_lock(tmp_path / "lock", 0.1)
    os.close(first)
    os.close(wait_for_lock(tmp_path / "lock", 1))
