"""`spotlightd server-config`: what it writes, for whom, and what it refuses to write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from spotlightd.cli import main
from spotlightd.clients.clickhouse.server_config import KEYS_FILE, STORAGE_FILE
from spotlightd.model.bucket import COLLECTION

EXAMPLE = Path(__file__).parents[2] / "clickhouse-config" / "storage.xml"
KEYS = {
    "bucket.access_key_file": "constructed-archive-access",
    "bucket.secret_key_file": "constructed-archive-<&>-secret",
    "storage.access_key_file": "constructed-cold-access",
    "storage.secret_key_file": "constructed-cold-secret",
}


def settings(folder: Path, **changes: Any) -> Path:
    """A file of settings with keys, such as `bucket__name="x"`."""
    sections: dict[str, dict[str, Any]] = {"bucket": {"kind": "s3", "url": "https://s3.example.org"}, "storage": {}}
    for setting, key in KEYS.items():
        section, _, name = setting.partition(".")
        sections[section][name] = str(folder / setting)
        (folder / setting).write_text(key, encoding="utf-8")
        (folder / setting).chmod(0o600)
    for setting, value in changes.items():
        section, _, name = setting.partition("__")
        sections[section][name] = value
    lines = [
        line
        for section, values in sections.items()
        for line in (f"[{section}]", *(f"{name} = {json.dumps(value)}" for name, value in values.items()))
    ]
    file = folder / "settings.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def write_files(folder: Path, *words: str, **changes: Any) -> int:
    return main(["server-config", "--config", str(settings(folder, **changes)), "--to", str(folder / "to"), *words])


def test_the_keys_are_in_a_file_of_their_own_that_only_its_owner_may_read(tmp_path: Path) -> None:
    assert write_files(tmp_path) == 0
    places, keys = (tmp_path / "to" / name for name in (STORAGE_FILE, KEYS_FILE))
    assert [key.stat().st_mode & 0o777 for key in (places, keys)] == [0o640, 0o600]
    assert {file.name for file in (tmp_path / "to").iterdir()} == {STORAGE_FILE, KEYS_FILE}
    assert not any(key in places.read_text(encoding="utf-8") for key in KEYS.values())
    root = ET.parse(keys).getroot()  # noqa: S314
    texts = [element for element in root.iter() if element.text and element.text.strip()]
    assert [one.text for one in texts] == list(KEYS.values())
    assert {one.get("hide_in_preprocessed") for one in texts} == {"true"}


def test_the_output_contains_no_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert write_files(tmp_path, "--json") == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["files"] == [str(tmp_path / "to" / name) for name in (STORAGE_FILE, KEYS_FILE)]
    assert not any(key in output.out + output.err for key in KEYS.values())


def test_the_example_is_what_it_writes(tmp_path: Path) -> None:
    assert write_files(tmp_path) == 0
    assert (tmp_path / "to" / STORAGE_FILE).read_text(encoding="utf-8") == EXAMPLE.read_text(encoding="utf-8")


def test_no_table_forgets_rows_and_no_statement_can_send_the_keys_elsewhere(tmp_path: Path) -> None:
    assert write_files(tmp_path) == 0
    for name in (STORAGE_FILE, KEYS_FILE):
        root = ET.parse(tmp_path / "to" / name).getroot()  # noqa: S314
        assert "ttl" not in {element.tag for element in root.iter()}
        assert {one.get("overridable") for one in root.findall(f"named_collections/{COLLECTION}/*")} == {"false"}


def test_an_existing_file_is_replaced_only_on_request(tmp_path: Path) -> None:
    assert write_files(tmp_path) == 0
    (tmp_path / "to" / STORAGE_FILE).write_text("mine", encoding="utf-8")
    (tmp_path / "to" / KEYS_FILE).unlink()
    assert write_files(tmp_path) == 78
    assert (tmp_path / "to" / STORAGE_FILE).read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "to" / KEYS_FILE).exists()
    assert write_files(tmp_path, "--replace") == 0
    assert (tmp_path / "to" / STORAGE_FILE).read_text(encoding="utf-8") == EXAMPLE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "changes",
    [
        {"bucket__prefix": "box1/", "storage__prefix": "box1/"},
        {"bucket__prefix": "box1/a/", "storage__prefix": "box1"},
        {"bucket__prefix": "box1/", "storage__prefix": "box1/trades/"},
        {"storage__prefix": "trades/"},
        {"storage__prefix": ""},
        {"storage__prefix": "../x"},
        {"storage__name": "Not A Bucket"},
        {"storage__policy": "default"},
        {"storage__policy": "a><b"},
        {"storage__cache_bytes": 1},
        {"storage__free_percent": 95.0},
        {"storage__read_seconds": 0.0},
        {"storage__access_key_file": ""},
        {"bucket__kind": "folder"},
        {"bucket__url": "https://s3.example.org/path"},
    ],
)
def test_what_could_harm_the_archive_or_cannot_work_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert write_files(tmp_path, **changes) == 78
    assert not (tmp_path / "to").exists()


def test_the_archives_own_key_is_refused_because_the_cold_disk_deletes(tmp_path: Path) -> None:
    assert write_files(tmp_path, storage__access_key_file=str(tmp_path / "bucket.access_key_file")) == 78


@pytest.mark.parametrize(
    "changes",
    [
        {"bucket__prefix": "box1/", "storage__prefix": "box1/parts-cold/"},
        {"bucket__prefix": "box1/", "storage__prefix": "box2/"},
        {"storage__name": "other-bucket", "storage__prefix": "trades/"},
    ],
)
def test_names_apart_from_those_of_the_archive_are_accepted(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert write_files(tmp_path, **changes) == 0
