"""The playbook on a bare host with a real systemd: installed, installed again, killed, stopped, rebooted, cut off, upgraded.

One host lives through all tests, in their order. The release is what `make release` writes, the parts what `make parts`
does. Two servers cannot be had here: packages of ours stand in for the ClickHouse server and for Grafana (standins.py). So what
these tests show of them is how the roles treat them, and what the daemon does when a server under their names goes away.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.host import standins
from tests.host.image import HostMissingError
from tests.host.machine import NAME, ROOT, Machine, Play, run_machine
from tests.host.parts import digest
from tests.host.venue import MIRROR_PORT, VENUE_PORT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]  # a loaded machine takes ten minutes for one installation
UNITS = (
    "kafka",
    "minio",
    "clickhouse-server",
    "spotlightd",
    "prometheus",
    "prometheus-alertmanager",
    "prometheus-node-exporter",
    "grafana-server",
    "nginx",
)
READ = 'python3 -c "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"'
READY = f"{READ} http://127.0.0.1:8080/readyz > /dev/null && echo yes"
VARIABLES: dict[str, Any] = {
    "box_name": NAME,
    "spotlightd_contact": "operator@example.org",
    "monitoring_mail_to": "operator@example.org",
    "kafka_heap_mib": 256,
    "clickhouse_memory_mib": 1600,
    "spotlightd_venues": ["finnhub"],
    "spotlightd_settings": {
        "publisher": {"mirrors": {"www.sec.gov": f"http://127.0.0.1:{MIRROR_PORT}/www.sec.gov"}},
        "streams": {
            "symbols": {"finnhub": ["AAPL", "BINANCE:BTCUSDT"]},
            "addresses": {"finnhub": f"ws://127.0.0.1:{VENUE_PORT}"},
            "backoff_most_seconds": 2.0,
        },
    },
}
TICKS = "/run/ticks"
ASK = (
    "curl --silent --fail-with-body --max-time 20 --user spotlightd:$(cat /etc/spotlightd/secrets/clickhouse.spotlightd)"
    " 'http://127.0.0.1:8123/?database=spotlightd' --data-binary"
)


def find_release() -> Path:
    releases = sorted((ROOT / "build").glob("spotlightd-*.tar"))
    if not releases:
        raise HostMissingError("there is no release: make release")
    return releases[-1]


def find_part(name: str) -> Path:
    part = ROOT / "build" / name
    if not part.exists():
        raise HostMissingError(f"there is no {part.name}: make parts")
    return part


def find_standins(folder: Path) -> dict[str, object]:
    """The variables that install the stand-ins as files."""
    clickhouse, grafana = standins.build_clickhouse(folder), standins.build_grafana(folder)
    return {
        "clickhouse_source": "file",
        "clickhouse_files": [{"path": str(clickhouse), "sha256": digest(clickhouse)}],
        "grafana_source": "file",
        "grafana_files": [{"path": str(grafana), "sha256": digest(grafana)}],
    }


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    try:
        release, minio = find_release(), find_part("minio")
        with run_machine(tmp_path_factory.mktemp("host")) as machine:
            # another Go builds another program, and this one was built here
            machine.variables.update(VARIABLES, release_file=str(release), object_store_minio_digest=digest(minio))
            machine.variables.update(find_standins(tmp_path_factory.mktemp("standins")))
            machine.run(
                "mkdir -p -m 700 /etc/spotlightd/secrets && echo constructed-finnhub-key > /etc/spotlightd/secrets/finnhub.key"
            )
            machine.run("chmod 600 /etc/spotlightd/secrets/finnhub.key")
            yield machine
    except HostMissingError as error:
        pytest.skip(f"no host: {error}")


@pytest.fixture(scope="module")
def first(bare: Machine) -> Play:
    """The first run of the playbook."""
    return bare.play()


@pytest.fixture
def box(bare: Machine, first: Play) -> Machine:
    """The installed host."""
    assert first.failed == 0, first.output[-4000:]
    return bare


@pytest.fixture(scope="module")
def venue(bare: Machine, first: Play) -> Machine:
    """The installed host with a venue and a mirror of the SEC on it, which outlive whatever happens to the daemon."""
    assert first.failed == 0
    program = (Path(__file__).with_name("venue.py")).read_text(encoding="utf-8")
    (bare.root / "opt/venue.py").write_text(program, encoding="utf-8")
    bare.run(
        f"systemd-run --unit=venue --setenv=PYTHONPATH=/opt /opt/spotlightd/.venv/bin/python -P /opt/venue.py {TICKS}"
    )
    bare.wait_for(f"test $(cat {TICKS}) -gt 100 && echo yes", {"yes"})
    return bare


def wait_until_ready(box: Machine) -> None:
    box.wait_for(READY, {"yes"})


def count_trades(box: Machine) -> int:
    """Rows of the table, asked of the warehouse as the daemon does."""
    return int(box.run(f"{ASK} 'SELECT count() FROM trades'"))


def wait_for_trades(box: Machine, number: int) -> None:
    """Wait until so many are in the table, and see that no more come."""
    box.wait_for(f"{ASK} 'SELECT count() FROM trades'", {str(number)}, seconds=180)
    box.run("sleep 1")
    assert count_trades(box) == number


def stop_the_market(box: Machine) -> int:
    """Ticks that the venue has sent; it sends no more."""
    box.run("systemctl kill --signal=SIGUSR1 venue && sleep 1.5")
    return int(box.run(f"cat {TICKS}"))


def test_a_bare_host_becomes_the_box(box: Machine, first: Play) -> None:
    wait_until_ready(box)
    assert box.run("systemctl is-system-running") == "running"
    assert box.run(f"systemctl is-active {' '.join(UNITS)}").split() == ["active"] * len(UNITS)
    print(f"first run: {first.seconds:.0f} s, {first.ok} tasks, {first.changed} changed")


def test_a_second_run_changes_nothing_and_restarts_nothing(box: Machine) -> None:
    pids = [box.main_pid(unit) for unit in UNITS]
    again = box.play()
    print(f"second run: {again.seconds:.0f} s, {again.ok} tasks, {again.changed} changed")
    assert (again.changed, again.failed) == (0, 0), again.output[-4000:]
    assert [box.main_pid(unit) for unit in UNITS] == pids


def test_only_nginx_and_ssh_listen_beyond_loopback(box: Machine) -> None:
    lines = box.run("ss --listening --tcp --numeric --processes --no-header").splitlines()
    beyond = {line.split('"')[1] for line in lines if not line.split()[3].startswith(("127.", "[::1]", "[::ffff:127."))}
    assert beyond == {"nginx", "sshd"}


def test_pages_are_served_over_tls_to_those_who_know_the_password(box: Machine) -> None:
    password = box.run("cat /etc/spotlightd/secrets/explorer.password")
    assert len(password) == 64
    assert ask(box, "/status").startswith("401")
    status = ask(box, "/status", "--user", f"reader:{password}")
    assert status.startswith("200")
    assert "sec_ftd" in status
    assert "strict-transport-security" in ask(box, "/", "--user", f"reader:{password}", "--head").lower()
    for private in ("/metrics", "/logs", "/data/logs", "/data/logs.csv"):
        assert ask(box, private, "--user", f"reader:{password}").startswith("404"), private
    assert box.as_operator(
        "curl",
        "--silent",
        "--insecure",
        "--resolve",
        "other.example.org:443:10.231.8.2",
        "https://other.example.org/",
        seconds=20,
    ).returncode in {52, 92}  # curl: nothing was returned, over HTTP 1 or 2


def ask(box: Machine, path: str, *options: str) -> str:
    """Status and body of a page through nginx."""
    result = box.as_operator(
        "curl", "--silent", "--insecure", "--resolve", f"{NAME}:443:10.231.8.2", "--write-out", "%{stderr}%{http_code}",
        *options, f"https://{NAME}{path}", seconds=30,
    )  # fmt: skip
    return f"{result.stderr} {result.stdout}"


def test_prometheus_scrapes_the_daemon_and_the_machine(box: Machine) -> None:
    query = f"{READ} 'http://127.0.0.1:9090/api/v1/query?query=min(up)' | grep --only-matching '\"[01]\"'"
    box.wait_for(query, {'"1"'})


def test_the_daemon_uses_kafka_and_the_store_with_keys_of_its_own(box: Machine) -> None:
    settings = box.run("cat /etc/spotlightd/spotlightd.toml")
    assert 'kind = "kafka"' in settings
    assert 'kind = "s3"' in settings
    assert box.run("cat /etc/spotlightd/secrets/object_store.access") not in settings
    for name in ("object_store.access", "kafka.broker", "explorer.password"):
        denied = box.try_command(f"runuser -u spotlightd -- cat /etc/spotlightd/secrets/{name}")
        assert denied.returncode, f"the daemon reads {name}"


def test_one_command_shows_the_secrets_and_each_is_drawn_once(box: Machine) -> None:
    shown = dict(line.split() for line in box.run("spotlight-secrets").splitlines())
    assert {"explorer.password", "kafka.password", "bucket.secret"} <= shown.keys()
    assert len(set(shown.values())) == len(shown)
    assert {len(value) for name, value in shown.items() if name != "finnhub.key"} == {64}
    assert box.run("spotlight-secrets draw explorer.password") == ""


def test_a_setting_is_laid_over_those_of_the_other_variables(box: Machine) -> None:
    settings = {**VARIABLES["spotlightd_settings"], "web": {"page_rows": 500}, "metrics": {"heartbeat_seconds": 20.0}}
    settings["publisher"] = {**settings["publisher"], "attempts": 6}
    box.variables["spotlightd_settings"] = settings
    assert box.play("--tags", "spotlightd").failed == 0
    text = box.run("cat /etc/spotlightd/spotlightd.toml")
    assert 'contact = "operator@example.org"\nmirrors = { "www.sec.gov" = ' in text
    assert "attempts = 6" in text
    wait_until_ready(box)


def test_the_target_stops_and_starts_all_parts_in_their_order(box: Machine) -> None:
    box.run("systemctl stop spotlight.target", seconds=180)
    box.wait_for(f"systemctl is-active {' '.join(UNITS)} | sort --unique", {"inactive"})
    box.run("systemctl start spotlight.target", seconds=300)
    assert box.run(f"systemctl is-active {' '.join(UNITS)}").split() == ["active"] * len(UNITS)
    wait_until_ready(box)
    began = {
        unit: int(box.run(f"systemctl show --property=ActiveEnterTimestampMonotonic --value {unit}"))
        for unit in ("kafka", "minio", "spotlightd", "nginx")
    }
    assert max(began["kafka"], began["minio"]) < began["spotlightd"] < began["nginx"]


def test_the_warehouse_has_no_user_without_a_password(box: Machine) -> None:
    assert box.run(f"{ASK} 'SELECT 1'") == "1"
    for user in ("default:", "default:default", "spotlightd:", "guest:guest"):
        refused = box.run(f"curl --silent --user {user} http://127.0.0.1:8123/ --data-binary 'SELECT 1'")
        assert "AUTHENTICATION_FAILED" in refused


def test_grafana_is_behind_the_login_and_has_the_dashboards(box: Machine) -> None:
    """The stand-in says what it was given."""
    password = box.run("cat /etc/spotlightd/secrets/explorer.password")
    assert ask(box, "/grafana/api/health").startswith("401")
    health = ask(box, "/grafana/api/health", "--user", f"reader:{password}", "--header", "X-WEBAUTH-USER: admin")
    assert '"user": "reader"' in health
    assert '"spotlightd-pipeline"' in health


@pytest.mark.parametrize("act", ["stop", "kill"])
@pytest.mark.parametrize("unit", ["kafka", "clickhouse-server", "minio"])
def test_a_part_goes_and_comes_back_and_every_tick_is_there_once(venue: Machine, unit: str, act: str) -> None:
    wait_until_ready(venue)
    venue.run("systemctl kill --signal=SIGUSR2 venue")
    daemon, ticks = venue.main_pid("spotlightd"), int(venue.run(f"cat {TICKS}"))
    if act == "stop":
        venue.run(f"systemctl stop {unit}", seconds=120)
        assert venue.run("systemctl is-active spotlightd") == "active"
        venue.wait_for(f"test $(cat {TICKS}) -gt {ticks + 500} && echo yes", {"yes"})
        venue.run(f"systemctl start {unit}", seconds=180)
    else:
        venue.run(f"kill -9 {venue.main_pid(unit)}")
        venue.wait_for(f"systemctl is-active {unit}", {"active"})
    wait_for_trades(venue, stop_the_market(venue))
    assert venue.main_pid("spotlightd") == daemon
    wait_until_ready(venue)


def test_secrets_are_rotated_by_a_tag_and_the_ones_before_end_with_another(box: Machine) -> None:
    names = ("clickhouse.spotlightd", "bucket.access", "kafka.password", "explorer.password")
    before = {name: box.run(f"cat /etc/spotlightd/secrets/{name}") for name in names}
    rotated = box.play("--tags", "rotate")
    assert rotated.failed == 0, rotated.output[-4000:]
    wait_until_ready(box)
    after = {name: box.run(f"cat /etc/spotlightd/secrets/{name}") for name in names}
    assert not set(before.values()) & set(after.values())
    assert ask(box, "/status", "--user", f"reader:{after['explorer.password']}").startswith("200")
    assert box.run("cat /etc/spotlightd/secrets/finnhub.key") == "constructed-finnhub-key"
    as_before = f"curl --silent --user spotlightd:{before['clickhouse.spotlightd']} http://127.0.0.1:8123/ --data-binary 'SELECT 1'"
    assert box.run(as_before) == "1"
    assert box.play("--tags", "retire").failed == 0
    assert "AUTHENTICATION_FAILED" in box.run(as_before)
    wait_until_ready(box)


def test_a_killed_daemon_is_back_at_once(box: Machine) -> None:
    pid = box.main_pid("spotlightd")
    box.run(f"kill -9 {pid}")
    wait_until_ready(box)
    assert box.main_pid("spotlightd") != pid
    assert box.run("systemctl show --property=NRestarts --value spotlightd") == "1"


def test_a_daemon_that_hangs_is_ended_by_the_watchdog(box: Machine) -> None:
    box.run(
        "mkdir -p /run/systemd/system/spotlightd.service.d && printf '[Service]\\nWatchdogSec=5s\\n' > /run/systemd/system/spotlightd.service.d/short.conf"
    )
    box.run("systemctl daemon-reload && systemctl restart spotlightd")
    wait_until_ready(box)
    pid = box.main_pid("spotlightd")
    box.run(f"kill -STOP {pid}")
    box.wait_for(
        f"test $(systemctl show --property=MainPID --value spotlightd) != {pid} && systemctl is-active spotlightd",
        {"active"},
    )
    assert "Watchdog timeout" in box.run("journalctl --unit spotlightd --no-pager")
    box.run("rm -r /run/systemd/system/spotlightd.service.d && systemctl daemon-reload && systemctl restart spotlightd")
    wait_until_ready(box)


def test_after_a_reboot_and_after_a_power_cut_everything_runs_again(box: Machine) -> None:
    box.reboot()
    wait_until_ready(box)
    box.cut_power()
    box.boot()
    wait_until_ready(box)
    assert box.run(f"systemctl is-active {' '.join(UNITS)}").split() == ["active"] * len(UNITS)


def test_a_setting_that_must_be_corrected_is_refused_before_anything_changes(box: Machine) -> None:
    pid = box.main_pid("spotlightd")
    play = box.play(variables={"spotlightd_settings": {"disk": {"warn_percnt": 1}}})
    assert play.failed == 1
    assert "warn_percnt" in play.output
    assert box.main_pid("spotlightd") == pid
    assert box.play("--tags", "spotlightd").failed == 0


def test_an_upgrade_and_the_way_back_keep_every_row(venue: Machine, tmp_path: Path) -> None:
    wait_until_ready(venue)
    older, newer = find_release(), make_release(tmp_path, "0.1.1")
    for release, version in ((newer, "0.1.1"), (older, "0.1.0")):
        sent = stop_the_market(venue)
        wait_for_trades(venue, sent)
        play = venue.play("--tags", "spotlightd", variables={"release_file": str(release)})
        assert play.failed == 0, play.output[-4000:]
        print(f"switch to {version}: {play.seconds:.0f} s")
        wait_until_ready(venue)
        assert venue.run("readlink /opt/spotlightd/current").endswith(f"/{version}")
        assert venue.run("/opt/spotlightd/.venv/bin/spotlightd --version").endswith(version)
        assert count_trades(venue) == sent
        venue.run("systemctl kill --signal=SIGUSR2 venue")
        venue.wait_for(f"test $(cat {TICKS}) -gt {sent + 100} && echo yes", {"yes"})
        wait_for_trades(venue, stop_the_market(venue))


def make_release(folder: Path, version: str) -> Path:
    """The release of this tree under another version."""
    source, parts = folder / "source", folder / "parts"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "tests", "state", "node_modules"))
    project = (source / "pyproject.toml").read_text(encoding="utf-8")
    (source / "pyproject.toml").write_text(re.sub(r'(?m)^version = ".*"$', f'version = "{version}"', project))
    package = source / "spotlightd" / "__init__.py"
    package.write_text(re.sub(r'__version__ = ".*"', f'__version__ = "{version}"', package.read_text(encoding="utf-8")))
    with tarfile.open(find_release()) as archive:
        archive.extractall(parts, filter="data")
    for wheel in parts.glob("spotlightd-*.whl"):
        wheel.unlink()
    pip = [str(ROOT / ".venv/bin/python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    command = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(parts), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    with tarfile.open(folder / f"spotlightd-{version}.tar", "w") as archive:
        archive.add(parts, ".")
    return folder / f"spotlightd-{version}.tar"


def test_a_release_that_does_not_pass_its_check_leaves_the_old_one_running(box: Machine, tmp_path: Path) -> None:
    pid, broken = box.main_pid("spotlightd"), tmp_path / "spotlightd-9.9.9.tar"
    with tarfile.open(broken, "w") as archive:
        for name in ("requirements.lock",):
            (tmp_path / name).write_text("constructed==1.0 --hash=sha256:" + 64 * "0" + "\n")
            archive.add(tmp_path / name, name)
    play = box.play(variables={"release_file": str(broken)})
    assert play.failed == 1
    assert box.main_pid("spotlightd") == pid
    assert box.run("readlink /opt/spotlightd/current").endswith("/0.1.0")
