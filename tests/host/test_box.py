"""The playbook on a bare host with a real systemd: what it makes of it, and that a second run changes nothing.

The release is what `make release` writes, the parts what `make parts` does. Two servers cannot be had here: packages of ours
stand in for the ClickHouse server and for Grafana (standins.py). So what these tests show of them is how the roles treat
them, and what the daemon does when a server under their names goes away.
"""

from __future__ import annotations

import pytest

from tests.host.machine import Machine, Play
from tests.host.world import ASK, READ, UNITS, VARIABLES, ask, wait_until_ready

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]  # a loaded machine takes ten minutes for one installation


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


def test_a_dry_run_says_what_it_would_change_and_changes_nothing(box: Machine) -> None:
    same = box.play("--check", "--diff")
    assert (same.changed, same.failed) == (0, 0), same.output[-4000:]
    other = box.play("--check", "--diff", "--tags", "nginx", variables={"nginx_requests_per_second": 31})
    assert other.failed == 0, other.output[-4000:]
    assert other.changed
    assert "rate=31r/s" in other.output
    assert "31r/s" not in box.run("cat /etc/nginx/conf.d/spotlight.conf")


def test_the_command_has_its_man_page_and_completions(box: Machine) -> None:
    assert box.run("spotlightd --version").endswith("0.1.0")
    for shell in ("man/man1/spotlightd.1", "bash-completion/completions/spotlightd", "zsh/site-functions/_spotlightd"):
        assert "backup" in box.run(f"cat /usr/local/share/{shell}")


def test_prometheus_knows_the_units_and_when_the_certificate_ends(box: Machine) -> None:
    names = ("spotlightd.service", "spotlightd-backup.timer", "kafka.service")
    for metric in (
        *(f'node_systemd_unit_state{{name="{name}",state="active"}}==1' for name in names),
        "spotlight_certificate_ends_timestamp_seconds-time()>800*86400",
    ):
        query = f"{READ} http://127.0.0.1:9090/api/v1/query?query=$(python3 -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.argv[1]))' '{metric}')"
        box.wait_for(f"{query} | grep --count '\"value\"'", {"1"})
