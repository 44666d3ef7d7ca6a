"""What happens to the installed host, and that each tick that reached it is in the table once afterwards."""

from __future__ import annotations

import time

import pytest

from tests.host.machine import Machine
from tests.host.market import Market
from tests.host.world import SETTINGS, UNITS, settle, wait_for_trades, wait_until_ready

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]  # a loaded machine takes ten minutes for one installation
# Constructed: it keeps the event loop for as long as it looks.
BLOCKER = """\
import time
from dataclasses import replace
from spotlightd.sources.sec_ftd import source as other
async def discover(pages):
    time.sleep(600)
    yield None
source = replace(other, name="blocker", title="constructed", cron="* * * * *", discover=discover)
"""


@pytest.mark.parametrize("act", ["stop", "kill"])
@pytest.mark.parametrize("unit", ["kafka", "clickhouse-server", "minio"])
def test_a_part_goes_and_comes_back_and_every_tick_is_there_once(
    box: Machine, market: Market, unit: str, act: str
) -> None:
    wait_until_ready(box)
    market.go_on()
    daemon, ticks = box.main_pid("spotlightd"), market.ticks
    if act == "stop":
        box.run(f"systemctl stop {unit}", seconds=120)
        assert box.run("systemctl is-active spotlightd") == "active"
        market.wait_for_ticks(ticks + 500)
        box.run(f"systemctl start {unit}", seconds=180)
    else:
        box.run(f"kill -9 {box.main_pid(unit)}")
        box.wait_for(f"systemctl is-active {unit}", {"active"})
    settle(box, market)
    assert box.main_pid("spotlightd") == daemon
    wait_until_ready(box)


def test_a_killed_daemon_is_back_with_what_it_had_taken(box: Machine, market: Market) -> None:
    market.go_on()
    market.wait_for_ticks(market.ticks + 300)
    sent, pid = market.stop(), box.main_pid("spotlightd")
    began = time.monotonic()
    box.run(f"kill -9 {pid}")
    wait_until_ready(box)
    print(f"kill -9: ready after {time.monotonic() - began:.0f} s")
    assert box.main_pid("spotlightd") != pid
    assert box.run("systemctl show --property=NRestarts --value spotlightd") == "1"
    wait_for_trades(box, sent)


def test_a_daemon_that_hangs_is_ended_by_the_watchdog(box: Machine) -> None:
    box.run(
        "mkdir -p /run/systemd/system/spotlightd.service.d && printf '[Service]\\nWatchdogSec=5s\\n' > /run/systemd/system/spotlightd.service.d/short.conf"
    )
    box.run("systemctl daemon-reload && systemctl restart spotlightd")
    wait_until_ready(box)
    pid = box.main_pid("spotlightd")
    box.run(f"kill -STOP {pid}")
    assert wait_for_the_watchdog(box, pid) == 1
    wait_until_ready(box)
    (box.root / "opt/blocker.py").write_text(BLOCKER, encoding="utf-8")
    box.run(
        f"cd /var/lib/spotlightd && install -d -m 700 -o spotlightd -g spotlightd sources && install -m 600 -o spotlightd"
        f" -g spotlightd /opt/blocker.py sources && cp -p {SETTINGS} {SETTINGS}.good"
        f' && sed -i \'s/"sec_ftd"/"sec_ftd", "blocker"/\' {SETTINGS}'
    )
    box.run("systemctl restart spotlightd", seconds=300)
    assert wait_for_the_watchdog(box, box.main_pid("spotlightd")) > 1
    box.run(f"rm /var/lib/spotlightd/sources/blocker.py && mv {SETTINGS}.good {SETTINGS}")
    box.run(
        "systemctl reset-failed spotlightd; rm -r /run/systemd/system/spotlightd.service.d && systemctl daemon-reload && systemctl restart spotlightd"
    )
    wait_until_ready(box)


def wait_for_the_watchdog(box: Machine, pid: int) -> int:
    """Wait until systemd has ended this process; how often it has ended one."""
    box.wait_for(f"test $(systemctl show --property=MainPID --value spotlightd) != {pid} && echo yes", {"yes"})
    return box.run("journalctl --unit spotlightd --no-pager").count("Watchdog timeout")


def test_after_a_reboot_and_after_a_power_cut_everything_runs_again(box: Machine, market: Market) -> None:
    for cut in (False, True):
        market.go_on()
        market.wait_for_ticks(market.ticks + 300)
        sent = market.stop()
        began = time.monotonic()
        if cut:
            box.cut_power()
            box.boot()
        else:
            box.reboot()
        wait_until_ready(box)
        print(f"{'power cut' if cut else 'reboot'}: ready after {time.monotonic() - began:.0f} s")
        wait_for_trades(box, sent)
        assert box.run(f"systemctl is-active {' '.join(UNITS)}").split() == ["active"] * len(UNITS)
    assert box.run("systemctl is-active spotlightd-backup.timer spotlight-certificate.timer").split() == ["active"] * 2


def test_a_setting_that_must_be_corrected_is_refused_before_anything_changes(box: Machine) -> None:
    pid = box.main_pid("spotlightd")
    play = box.play("--tags", "spotlightd", variables={"spotlightd_settings": {"disk": {"warn_percnt": 1}}})
    assert play.failed == 1
    assert "warn_percnt" in play.output
    assert box.main_pid("spotlightd") == pid
    assert box.play("--tags", "spotlightd").failed == 0


def test_a_wrong_settings_file_ends_the_daemon_with_78_and_no_loop(box: Machine) -> None:
    box.run(f"cp -p {SETTINGS} {SETTINGS}.good && sed -i 's/^contact = /contcat = /' {SETTINGS}")
    assert box.try_command("systemctl restart spotlightd").returncode
    status = box.run("systemctl show --property=ExecMainStatus,ActiveState,NRestarts --value spotlightd").split()
    assert set(status) == {"78", "failed", "0"}
    assert "did you mean publisher.contact" in box.run("journalctl --unit spotlightd --lines 20 --no-pager")
    box.run(f"mv {SETTINGS}.good {SETTINGS} && systemctl reset-failed spotlightd && systemctl start spotlightd")
    wait_until_ready(box)
