"""A backup of the installed host, tried on it, and restored by the playbook on another one, which is then uninstalled."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.host.machine import Machine, run_machine
from tests.host.market import Market
from tests.host.world import ASK, BACKUPS, READ, VARIABLES, ask_box, settle, wait_until_ready

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
# Fingerprints of what a backup holds: each row, in any order.
FACTS = "SELECT count(), groupBitXor(cityHash64(* EXCEPT (load_id))) FROM {}"
AGES = f"{READ} http://127.0.0.1:9108/metrics | grep --count '^spotlightd_backup_age_seconds{{kind='"


def read_facts(box: Machine) -> dict[str, str]:
    return {name: ask_box(box, f"query --json '{FACTS.format(name)}'") for name in ("trades", "sec_ftd")}


def test_the_timers_write_a_backup_and_try_it(box: Machine, market: Market) -> None:
    settle(box, market)
    box.wait_for(f"{ASK} 'SELECT count() > 0 FROM sec_ftd'", {"1"})
    assert (
        "there is no backup of this state"
        in box.try_command("cd / && runuser -u spotlightd -- spotlightd doctor --state /var/lib/spotlightd").stdout
    )
    box.run("systemctl start spotlightd-backup", seconds=300)
    box.run("systemctl start spotlightd-trial", seconds=300)
    said = box.run("journalctl --unit spotlightd-trial --no-pager")
    assert "this was a trial: everything was there" in said
    box.wait_for(AGES, {"2"})
    assert len(list((box.root / BACKUPS[1:] / "manifests").iterdir())) == 1
    assert box.try_command(f"runuser -u nobody -- ls {BACKUPS}").returncode


def test_another_host_begins_with_the_backup_and_has_every_row(box: Machine, market: Market, tmp_path: Path) -> None:
    settle(box, market)
    before = read_facts(box)
    box.end()
    with run_machine(tmp_path) as other:
        shutil.copytree(box.root / BACKUPS[1:], other.root / "srv/backup")
        settings = {**VARIABLES["spotlightd_settings"], "streams": {}, "schedule": {"enabled": False}}
        other.variables.update(
            box.variables, spotlightd_restore="/srv/backup", spotlightd_warehouse="embedded", spotlightd_bus="embedded",
            object_store_kind="folder", grafana_source="none", spotlightd_venues=[], backup_to="",
            spotlightd_settings=settings,
        )  # fmt: skip
        other.run("chmod -R o+rX /srv/backup")
        first = other.play()
        assert first.failed == 0, first.output[-4000:]
        print(f"restored on a new host: {first.seconds:.0f} s")
        wait_until_ready(other)
        assert read_facts(other) == before
        again = other.play()
        assert (again.changed, again.failed) == (0, 0), again.output[-4000:]
        uninstall(other)


def uninstall(box: Machine) -> None:
    assert box.play("--tags", "uninstall").failed == 0
    assert (
        box.run(
            "systemctl list-units --all --plain --no-legend 'spotlight*' nginx.service | grep -c ' active ' || true"
        )
        == "0"
    )
    assert box.try_command("command -v spotlightd").returncode
    assert box.run("ls /var/lib/spotlightd").split()
