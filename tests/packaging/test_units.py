"""The units of the box: systemd understands each line of them, and how exposed each is."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"
# Ten times the exposure that `systemd-analyze security` gives, at most.
EXPOSURE = {
    "spotlightd.service": 20, "spotlightd-backup.service": 20, "spotlightd-trial.service": 20, "spotlight-certificate.service": 12,
    "kafka.service": 12, "minio.service": 12, "seaweedfs.service": 12,
}  # fmt: skip
PARTS = ("spotlightd.service", "kafka.service", "minio.service", "seaweedfs.service")
PROGRAMS = {
    "/opt/spotlightd/.venv/bin/spotlightd": "/bin/true",
    "/opt/minio/current/minio": "/bin/true",
    "/opt/seaweedfs/current/weed": "/bin/true",
    "/usr/bin/java": "/bin/true",
    "/usr/local/sbin/spotlight-certificate": "/bin/true",
}
analyze = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze here")


def read(name: str) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=", comment_prefixes="#")
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((SYSTEMD / name).read_text(encoding="utf-8"))
    return unit


def put_units(folder: Path) -> None:
    """All units side by side, with programs that are there."""
    for file in SYSTEMD.glob("*.*"):
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            for program, other in PROGRAMS.items():
                text = text.replace(program, other)
            (folder / file.name).write_text(text, encoding="utf-8")


@analyze
def test_systemd_finds_nothing_to_complain_of(tmp_path: Path) -> None:
    put_units(tmp_path)
    for unit in sorted(tmp_path.iterdir()):
        command = ["systemd-analyze", "verify", "--recursive-errors=yes", "--man=no", str(unit)]
        result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert (result.returncode, result.stdout + result.stderr) == (0, ""), unit.name


@analyze
@pytest.mark.parametrize("name", EXPOSURE)
def test_a_unit_is_no_more_exposed_than_the_table_says(name: str, tmp_path: Path) -> None:
    put_units(tmp_path)
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE[name]}", str(tmp_path / name)]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout[-500:]


def test_every_service_is_in_the_table() -> None:
    assert {file.name for file in SYSTEMD.glob("*.service")} == EXPOSURE.keys()


def test_every_part_stops_with_the_target_and_the_target_starts_every_part() -> None:
    wanted = " ".join(
        line.removeprefix("Wants=")
        for line in (SYSTEMD / "spotlight.target").read_text().splitlines()
        if line.startswith("Wants=")
    ).split()
    timers = sorted(file.name for file in SYSTEMD.glob("*.timer"))
    assert set(PARTS) <= set(wanted)
    for name in timers:
        assert read(name)["Install"]["WantedBy"] == "spotlight.target", name
    assert {name.replace(".timer", ".service") for name in timers} | set(PARTS) == EXPOSURE.keys()
    for name in [*PARTS, *timers, *(str(file.relative_to(SYSTEMD)) for file in SYSTEMD.glob("*.d/*.conf"))]:
        assert read(name)["Unit"]["PartOf"] == "spotlight.target", name


def test_a_store_keeps_its_folder_to_itself_and_is_restarted() -> None:
    for name in ("kafka.service", "minio.service", "seaweedfs.service"):
        service = read(name)["Service"]
        assert service["StateDirectoryMode"] == "0700"
        assert service["Restart"] == "on-failure"
        assert service["CapabilityBoundingSet"] == ""
        assert "ExecStartPost" in service, "units after it would not find it"
