"""The rendered configuration of the ClickHouse server, and an engine with the rights of one of its users."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from jinja2 import Environment, StrictUndefined

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "clickhouse-config"
USERS = ("spotlightd", "explorer", "guest", "grafana", "backup")
VARIABLES: Mapping[str, Any] = {
    "ansible_facts": {"memtotal_mb": 4096},
    "clickhouse_memory_mib": 1600,
    "clickhouse_http_port": 8123,
    "clickhouse_native_port": 9002,
    "clickhouse_database": "spotlightd",
    "clickhouse_digests": {f"clickhouse.{name}": 64 * "0" for name in USERS},
}
NO_LOGIN = """<clickhouse><allow_no_password replace="1">1</allow_no_password>
<allow_plaintext_password replace="1">1</allow_plaintext_password></clickhouse>"""
NOBODY = "<clickhouse><profiles><default/></profiles><quotas><default/></quotas><users><default><password></password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota></default></users></clickhouse>"


def render(name: str, variables: Mapping[str, Any] = VARIABLES) -> str:
    """A template as Ansible's module renders it."""
    environment = Environment(trim_blocks=True, undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)  # noqa: S701
    return environment.from_string((TEMPLATES / name).read_text(encoding="utf-8")).render(variables)


def act_as(user: str, variables: Mapping[str, Any] = VARIABLES) -> str:
    """The users of the server with this one under the name `default` and without a password, as the engine needs it."""
    root = ET.fromstring(render("users.xml.j2", variables))  # noqa: S314
    users, packaged = root.find("users"), ET.fromstring(NOBODY)  # noqa: S314
    assert users is not None
    chosen = users.find(user)
    assert chosen is not None
    for element in [*users]:
        users.remove(element)
    for element in [*chosen]:
        if element.tag in {"password_sha256_hex", "auth_methods"}:
            chosen.remove(element)
    chosen.tag = "default"
    ET.SubElement(chosen, "password")
    users.append(chosen)
    for section in ("profiles", "quotas"):
        (root.find(section) or root).append(packaged.find(f"{section}/default") or ET.Element("default"))
    return ET.tostring(root, encoding="unicode")


def run_statements(folder: Path, users: str, statements: Sequence[str]) -> list[str | int]:
    """The answer to each statement, or the number of its error; the data are in `folder`."""
    (folder / "users.xml").write_text(users, encoding="utf-8")
    parts = folder / "config" / "config.d"
    parts.mkdir(parents=True, exist_ok=True)
    (parts / "spotlightd-server.xml").write_text(render("server.xml.j2"), encoding="utf-8")
    (parts / "the-engine-has-no-login.xml").write_text(NO_LOGIN, encoding="utf-8")
    configuration = parts.parent / "config.xml"
    configuration.write_text(f"<clickhouse><users_config>{folder / 'users.xml'}</users_config></clickhouse>")
    result = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("rights_child.py")), str(configuration), str(folder / "data")],
        input=json.dumps(statements), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    outcomes: list[str | int] = json.loads(result.stdout)
    return outcomes
