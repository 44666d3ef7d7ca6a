"""What Grafana is given: data sources, folders and settings, as the role writes them. Grafana itself cannot be had here."""

from __future__ import annotations

import configparser
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment, StrictUndefined

from grafana.generate import FOLDER

ROOT = Path(__file__).parents[2]
PROVISIONING = ROOT / "grafana" / "provisioning"
VARIABLES: Mapping[str, Any] = {
    "box_name": "box.example.org", "nginx_login": True, "spotlightd_warehouse": "server", "grafana_port": 3000,
    "grafana_plugin_file": "", "grafana_plugin_version": "4.20.0", "clickhouse_http_port": 8123, "clickhouse_database": "spotlightd",
}  # fmt: skip


def render(name: str, **changes: Any) -> str:
    environment = Environment(trim_blocks=True, undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    return environment.from_string((PROVISIONING / name).read_text(encoding="utf-8")).render({**VARIABLES, **changes})


def find_data_sources(value: Any) -> Iterator[tuple[str, str]]:
    """Type and identifier of every data source that a dashboard names."""
    if isinstance(value, dict):
        if {"type", "uid"} == value.keys():
            yield value["type"], value["uid"]
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from find_data_sources(item)


def test_every_data_source_of_the_dashboards_is_provided() -> None:
    given = yaml.safe_load(render("datasources.yaml.j2"))["datasources"]
    known = {(source["type"], source["uid"]) for source in given}
    named = {
        found
        for file in FOLDER.glob("*.json")
        for found in find_data_sources(json.loads(file.read_text(encoding="utf-8")))
    }
    assert named == known
    assert {source["access"] for source in given} == {"proxy"}
    assert not any(source["editable"] for source in given)


def test_without_a_server_there_is_no_data_source_that_cannot_answer() -> None:
    given = yaml.safe_load(render("datasources.yaml.j2", spotlightd_warehouse="embedded"))["datasources"]
    assert [source["uid"] for source in given] == ["prometheus"]


def test_no_password_is_in_a_file_of_settings() -> None:
    sources = yaml.safe_load(render("datasources.yaml.j2"))["datasources"]
    secrets = [secret for source in sources for secret in source.get("secureJsonData", {}).values()]
    settings = configparser.ConfigParser(interpolation=None)
    settings.read_string(render("grafana.ini.j2"))
    for secret in [*secrets, settings["security"]["admin_password"]]:
        assert secret.startswith("$__file{/etc/grafana/secrets/")


@pytest.mark.parametrize("login", [True, False])
def test_grafana_listens_on_loopback_below_a_path_and_sends_nothing_home(login: bool) -> None:
    settings = configparser.ConfigParser(interpolation=None)
    settings.read_string(render("grafana.ini.j2", nginx_login=login))
    assert settings["server"]["http_addr"] == "127.0.0.1"
    assert settings["server"]["root_url"] == "https://box.example.org/grafana/"
    assert settings["date_formats"]["default_timezone"] == "UTC"
    assert {settings["analytics"][name] for name in settings["analytics"]} == {"false"}
    assert ("auth.proxy" in settings, "auth.anonymous" in settings) == (login, not login)


def test_the_dashboards_are_read_from_where_the_role_puts_them() -> None:
    provider = yaml.safe_load((PROVISIONING / "dashboards.yaml").read_text(encoding="utf-8"))["providers"][0]
    assert provider["options"]["path"] == "/etc/grafana/dashboards"
    assert 'dest: "/etc/grafana/dashboards/' in (ROOT / "ansible/roles/grafana/tasks/main.yml").read_text(
        encoding="utf-8"
    )
