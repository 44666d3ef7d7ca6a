"""The promises beside the code that rot first: generated pages, links, the lock, the unit."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent


def project() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


# -- pages -------------------------------------------------------------------------------------------------------------


def generated() -> Mapping[str, str]:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec
    assert spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    pages: Mapping[str, str] = made.pages()
    return pages


def test_the_generated_pages_are_up_to_date() -> None:
    written = {name: (ROOT / "docs" / name).read_text(encoding="utf-8") for name in generated()}
    assert written == generated(), "run `make docs`"


def test_bash_completes_commands_and_their_arguments() -> None:
    script = (
        "source docs/shell/spotlightd.bash; "
        "COMP_WORDS=(spotlightd docto) COMP_CWORD=1; _shtab_spotlightd spotlightd docto spotlightd; echo ${COMPREPLY[@]}; "
        "COMP_WORDS=(spotlightd backfill --fr) COMP_CWORD=2; _shtab_spotlightd spotlightd --fr backfill; echo ${COMPREPLY[@]}"
    )
    answer = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    assert answer.stdout.split() == ["doctor", "--from"]


def test_each_test_that_a_page_names_exists() -> None:
    """`tests/…py::test_…` or `tests/…py` in a page of docs/ or in README.md."""
    missing = []
    for page in (*(ROOT / "docs").glob("*.md"), ROOT / "README.md"):
        for file, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?", page.read_text(encoding="utf-8")):
            text = (ROOT / file).read_text(encoding="utf-8") if (ROOT / file).exists() else ""
            if not text or (name and f"def {name}(" not in text):
                missing.append(f"{page.name}: {file}::{name}")
    assert missing == []


def test_each_row_of_reliability_names_a_test() -> None:
    """Except a fault that does not apply."""
    lines = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8").splitlines()
    below = [*lines[1:], ""]
    rows = [
        line for line, next_line in zip(lines, below, strict=True) if line.startswith("| ") and "|---" not in next_line
    ]
    assert len(rows) > 50
    assert [row for row in rows if "`tests/" not in row and "does not apply" not in row] == []


def test_every_setting_and_every_option_has_a_description() -> None:
    silent = re.compile(r"^\| `(?:\w|-).*\|\s+\|$", re.MULTILINE)
    found = silent.findall(generated()["settings.md"]) + silent.findall(generated()["commands.md"])
    assert [line for line in found if not re.match(r"\| `[A-Z]+`", line)] == []


def test_links_in_the_documentation_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]
    links = [
        (page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    ]
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_the_changelog_knows_this_version() -> None:
    assert f"## {project()['project']['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_target_of_the_makefile_has_a_description() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)[0].split()
    silent = {"developer", "browser", "kafka", "stores", "prometheus", "rscript", "ahead"}
    assert set(phony) - set(re.findall(r"^([a-z]+):.*##", text, re.MULTILINE)) == silent


# -- packaging ---------------------------------------------------------------------------------------------------------


def locked(name: str) -> Mapping[str, list[str]]:
    versions: dict[str, list[str]] = {}
    for package, version in re.findall(
        r"^([a-z0-9-]+)==(\S+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE
    ):
        versions.setdefault(package, []).append(version)
    return versions


@pytest.mark.parametrize(
    ("name", "extras"), [("requirements.lock", ["build"]), ("requirements-dev.lock", ["build", "dev"])]
)
def test_the_lock_holds_what_the_project_asks_for(name: str, extras: list[str]) -> None:
    asked = [*project()["project"]["dependencies"]]
    asked += [requirement for extra in extras for requirement in project()["project"]["optional-dependencies"][extra]]
    held = locked(name)
    for requirement in map(Requirement, asked):
        versions = held.get(requirement.name.lower().replace("_", "-"), [])
        assert versions, f"{requirement.name} is not in {name}: run `make lock`"
        assert all(requirement.specifier.contains(version) for version in versions), (
            f"{requirement} is not what {name} holds: {versions}"
        )


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_the_lock_names_digests_and_no_place(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"://|^-|index-url|find-links| @ ", text, re.MULTILINE)
    assert all(
        rest.lstrip().startswith("--hash=sha256:") for rest in re.findall(r"^[a-z].*\\\n(.*)$", text, re.MULTILINE)
    )


def test_what_runs_is_what_is_developed_against() -> None:
    running, developing = locked("requirements.lock"), locked("requirements-dev.lock")
    assert {name: versions for name, versions in running.items() if developing.get(name) != versions} == {}


def test_the_unit_is_watched_confined_and_not_restarted_on_a_wrong_setting(tmp_path: Path) -> None:
    text = (ROOT / "systemd/spotlightd.service").read_text(encoding="utf-8")
    said = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    assert said["Type"] == "notify"
    assert int(said["WatchdogSec"].removesuffix("s")) >= 10
    assert "78" in said["RestartPreventExitStatus"].split()
    assert said["KillMode"] == "mixed"
    for name in (
        "NoNewPrivileges",
        "PrivateTmp",
        "PrivateDevices",
        "ProtectHome",
        "RestrictNamespaces",
        "MemoryDenyWriteExecute",
    ):
        assert said[name] == "yes"
    assert said["ProtectSystem"] == "strict"
    assert "landlock_restrict_self" in text
    if analyze := shutil.which("systemd-analyze"):
        unit = tmp_path / "spotlightd.service"
        unit.write_text(text.replace("/opt/spotlightd/.venv/bin/spotlightd", "/bin/true"), encoding="utf-8")
        for asked in (
            ["verify", "--recursive-errors=yes", "--man=no"],
            ["security", "--offline=true", "--threshold=20"],
        ):
            done = subprocess.run([analyze, *asked, str(unit)], check=False, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stdout + done.stderr
