"""What the tests of the installed host have in common: its variables, its parts, and questions to it."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.host import standins
from tests.host.image import HostMissingError
from tests.host.machine import NAME, ROOT, Machine
from tests.host.market import Market
from tests.host.parts import digest
from tests.host.venue import MIRROR_PORT, VENUE_PORT

BACKUPS = "/var/backups/spotlight"
SETTINGS = "/etc/spotlightd/spotlightd.toml"
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
    "backup_to": BACKUPS,
    "kafka_heap_mib": 256,
    "clickhouse_memory_mib": 1600,
    "spotlightd_venues": ["finnhub"],
    "spotlightd_settings": {
        "schedule": {"sources": ["sec_ftd"]},
        "publisher": {"mirrors": {"www.sec.gov": f"http://127.0.0.1:{MIRROR_PORT}/www.sec.gov"}},
        "streams": {
            "symbols": {"finnhub": ["AAPL", "BINANCE:BTCUSDT"]},
            "addresses": {"finnhub": f"ws://127.0.0.1:{VENUE_PORT}"},
            "backoff_most_seconds": 2.0,
        },
    },
}
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


def find_standins(folder: Path) -> dict[str, Any]:
    """The variables that install the stand-ins as files."""
    clickhouse, grafana = standins.build_clickhouse(folder), standins.build_grafana(folder)
    return {
        "clickhouse_source": "file",
        "clickhouse_files": [{"path": str(clickhouse), "sha256": digest(clickhouse)}],
        "grafana_source": "file",
        "grafana_files": [{"path": str(grafana), "sha256": digest(grafana)}],
    }


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


def ask_box(machine: Machine, command: str) -> str:
    """The output of a command of spotlightd, as the daemon's user runs it."""
    settings = f"--config {SETTINGS} --state /var/lib/spotlightd"
    name, _, rest = command.partition(" ")
    return machine.run(f"cd / && runuser -u spotlightd -- spotlightd {name} {settings} {rest}", seconds=300)


def settle(box: Machine, market: Market) -> int:
    """Stop the market and wait until each of its ticks is in the table once; how many there are."""
    sent = market.stop()
    wait_for_trades(box, sent)
    return sent


def ask(box: Machine, path: str, *options: str) -> str:
    """Status and body of a page through nginx."""
    result = box.as_operator(
        "curl", "--silent", "--insecure", "--resolve", f"{NAME}:443:10.231.8.2", "--write-out", "%{stderr}%{http_code}",
        *options, f"https://{NAME}{path}", seconds=30,
    )  # fmt: skip
    return f"{result.stderr} {result.stdout}"


def make_release(folder: Path, version: str, changes: Iterable[tuple[str, str, str]] = ()) -> Path:
    """The release of this tree under another version. `changes`: a file, a text in it, and what replaces that."""
    source = folder / f"source-{version}"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "tests", "state", "node_modules"))
    project = (source / "pyproject.toml").read_text(encoding="utf-8")
    (source / "pyproject.toml").write_text(re.sub(r'(?m)^version = ".*"$', f'version = "{version}"', project))
    package = source / "spotlightd" / "__init__.py"
    package.write_text(re.sub(r'__version__ = ".*"', f'__version__ = "{version}"', package.read_text(encoding="utf-8")))
    for name, old, new in changes:
        text = (source / name).read_text(encoding="utf-8")
        assert old in text, name
        (source / name).write_text(text.replace(old, new), encoding="utf-8")
    pip = [str(ROOT / ".venv/bin/python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    command = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    shutil.rmtree(source)
    target = folder / f"spotlightd-{version}.tar"
    with tarfile.open(find_release()) as other, tarfile.open(target, "w") as archive:
        for member in other:
            if not member.name.startswith("./spotlightd-"):
                archive.addfile(member, other.extractfile(member))
        for wheel in folder.glob(f"spotlightd-{version}-*.whl"):
            archive.add(wheel, f"./{wheel.name}")
    return target
