"""docs/add-a-source.md, followed word by word: its blocks of Python are a source, and its golden case holds."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

from spotlightd.model.source import Batch
from spotlightd.runtime.catalog import load_source
from tests.test_golden import check_case

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "add-a-source.md").read_text(encoding="utf-8")
DOCUMENT = ROOT / "spotlightd" / "demo" / "data" / "cnsfails202101a.zip"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def spotlightd(*arguments: str, folder: Path) -> str:
    command = [sys.executable, "-m", "spotlightd", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_names(text: str) -> set[str]:
    """The names that a file defines, imports aside."""
    nodes = ast.parse(text).body
    assigned = {ast.unparse(node.targets[0]) for node in nodes if isinstance(node, ast.Assign)}
    return assigned | {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def replace_parts(path: Path, parts: str) -> None:
    """Replace what follows the docstring of the skeleton by the page's blocks, which have each part of the skeleton."""
    skeleton = path.read_text(encoding="utf-8")
    assert read_names(skeleton) <= read_names(parts)
    docstring, _, _ = skeleton.partition("from __future__")
    path.write_text(docstring + parts, encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page was followed up to step 7."""
    folder = tmp_path_factory.mktemp("author")
    spotlightd("new-source", "my_fails", "--folder", "state/sources", folder=folder)
    sources = folder / "state" / "sources"
    replace_parts(sources / "my_fails.py", "\n\n".join(blocks("python")))
    case = sources / "golden" / "my_fails" / "first"
    (case / "document.txt").unlink()
    shutil.copy(DOCUMENT, case)
    (expected,) = blocks("json")
    (case / "expected.json").write_text(expected, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def source(folder: Path) -> Batch:
    return load_source(folder / "state" / "sources" / "my_fails.py")


def test_the_file_parses_as_the_page_says(folder: Path) -> None:
    arguments = (
        "try",
        "state/sources/my_fails.py",
        f"state/sources/golden/my_fails/first/{DOCUMENT.name}",
        "--rows",
        "1",
    )
    assert spotlightd(*arguments, folder=folder).endswith("48,215 rows, 0 rejected lines\n")
    assert "48,215 rows, 0 rejected lines" in PAGE


def test_the_daemon_finds_the_source(folder: Path) -> None:
    (settings,) = blocks("toml")
    (folder / "spotlightd.toml").write_text(settings, encoding="utf-8")
    command = "check --config spotlightd.toml --state state"
    assert f"```\nspotlightd {command}\n```" in PAGE.split(settings)[1]
    assert "my_fails" in json.loads(spotlightd(*command.split(), "--json", folder=folder))["sources"]


def test_the_golden_case_holds(folder: Path, source: Batch, tmp_path: Path) -> None:
    check_case(folder / "state" / "sources" / "golden" / "my_fails" / "first", source, tmp_path)


async def test_discover_gives_the_links_of_the_index(source: Batch) -> None:
    class Index:
        async def page(self, url: str, *, post: str | None = None) -> str:
            assert (url, post) == (source.home, None)
            return '<a href="/files/cnsfails202101b.zip">b</a><a href="/files/cnsfails202102a.zip">a</a>'

    links = [(link.covers, link.first, link.last) async for link in source.discover(Index())]
    assert links == [
        ("2021/01/b", date(2021, 1, 15), date(2021, 1, 31)),
        ("2021/02/a", date(2021, 2, 1), date(2021, 2, 14)),
    ]


def test_what_is_expected_only_moves_on(source: Batch) -> None:
    expected = [source.expected(date(2020, 1, 1) + timedelta(days=number)).covers for number in range(800)]
    assert expected == sorted(expected)
    assert expected[0] == "2019/11/b"
