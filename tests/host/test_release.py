"""Upgrades of the installed host: rehearsed, done, undone, and refused."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from spotlightd.clients.ledger.ledger import SCHEMA
from tests.host.machine import Machine
from tests.host.market import Market
from tests.host.world import count_trades, find_release, make_release, settle, wait_until_ready

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]  # a loaded machine takes ten minutes for one installation
LEDGER = "spotlightd/clients/ledger/ledger.py"
# Constructed releases: one has a newer schema, one a step to it that fails.
NEWER = (LEDGER, f"SCHEMA = {SCHEMA}\n", f"SCHEMA = {SCHEMA + 1}\n")
BROKEN = (
    (LEDGER, f"SCHEMA = {SCHEMA}\n", f"SCHEMA = {SCHEMA + 2}\n"),
    (LEDGER, "        3: resources", f'        {SCHEMA + 1}: "DROP TABLE nowhere;",\n        3: resources'),
)


def test_an_upgrade_and_the_way_back_keep_every_row(box: Machine, market: Market, tmp_path: Path) -> None:
    wait_until_ready(box)
    older, newer = find_release(), make_release(tmp_path, "0.1.1")
    for release, version in ((newer, "0.1.1"), (older, "0.1.0")):
        sent = settle(box, market)
        play = box.play("--tags", "spotlightd", variables={"release_file": str(release)})
        assert play.failed == 0, play.output[-4000:]
        assert "Rehearse the upgrade" in play.output
        print(f"switch to {version}: {play.seconds:.0f} s, without a daemon {measure_pause(box):.1f} s")
        wait_until_ready(box)
        assert box.run("readlink /opt/spotlightd/current").endswith(f"/{version}")
        assert box.run("spotlightd --version").endswith(version)
        assert count_trades(box) == sent
        market.go_on()
        market.wait_for_ticks(sent + 100)
    settle(box, market)


def measure_pause(box: Machine) -> float:
    """Seconds between the last two starts and stops of the daemon."""
    times = box.run(
        "systemctl show --property=ActiveEnterTimestampMonotonic,ActiveExitTimestampMonotonic --value spotlightd"
    )
    left, entered = sorted(int(text) for text in times.split())
    return (entered - left) / 1e6


def test_an_older_release_refuses_a_newer_state_in_a_sentence_and_the_newer_one_runs_on(
    box: Machine, market: Market, tmp_path: Path
) -> None:
    sent, older = settle(box, market), find_release()
    newer = make_release(tmp_path, "0.2.0", [NEWER])
    assert box.play("--tags", "spotlightd", variables={"release_file": str(newer)}).failed == 0
    wait_until_ready(box)
    pid = box.main_pid("spotlightd")
    back = box.play("--tags", "spotlightd", variables={"release_file": str(older)})
    assert back.failed == 1
    sentence = (
        f"was written by a newer release (schema {SCHEMA + 1}, this one knows {SCHEMA}): install that release again"
    )
    assert sentence in " ".join(back.output.split())
    assert box.main_pid("spotlightd") == pid
    box.variables["release_file"] = str(newer)
    assert count_trades(box) == sent


def test_a_release_that_fails_its_rehearsal_is_not_switched_to(box: Machine, tmp_path: Path) -> None:
    pid = box.main_pid("spotlightd")
    broken = make_release(tmp_path, "0.3.0", BROKEN)
    play = box.play("--tags", "spotlightd", variables={"release_file": str(broken)})
    assert play.failed == 1
    assert "no such table: nowhere" in play.output
    assert "The release before runs on" in play.output
    assert box.main_pid("spotlightd") == pid
    assert box.run("readlink /opt/spotlightd/current").endswith("/0.2.0")


def test_a_release_that_cannot_be_installed_leaves_the_old_one_running(box: Machine, tmp_path: Path) -> None:
    pid, broken = box.main_pid("spotlightd"), tmp_path / "spotlightd-9.9.9.tar"
    with tarfile.open(broken, "w") as archive:
        for name in ("requirements.lock",):
            (tmp_path / name).write_text("constructed==1.0 --hash=sha256:" + 64 * "0" + "\n")
            archive.add(tmp_path / name, name)
    play = box.play("--tags", "spotlightd", variables={"release_file": str(broken)})
    assert play.failed == 1
    assert box.main_pid("spotlightd") == pid
    assert box.run("readlink /opt/spotlightd/current").endswith("/0.2.0")
