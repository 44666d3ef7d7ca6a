"""The promises of the code that rot first: floors, doors, sizes, words."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from spotlightd.log import EVENTS

ROOT = Path(__file__).parent.parent
OURS = ("spotlightd", "docs", "benchmarks")
LONGEST_FILE = 300
LONGEST_FUNCTION = 60
MOST_MODULES = 16
FORBIDDEN_NAMES = re.compile(r"(^|_)(utils?|commons?|base|managers?)$")

# aiohttp has two doors, which import-linter cannot tell apart: a client that asks, and a server that answers.
ASKING = re.compile(r"^(client|request$|Client|Connection|Server|Trace)|(Connector|Resolver|CookieJar)$")
ANSWERING = re.compile(r"^web")
ASKS = re.compile(r"^spotlightd\.clients\.")
ANSWERS = re.compile(r"^spotlightd\.(web|engine|demo)\b")
# yarl is the address type of aiohttp and goes where it goes; columns are spoken from parse up.
FREE = {"aiohttp", "yarl", "numpy", "pyarrow"}


@cache
def trees(*folders: str) -> Mapping[Path, ast.Module]:
    """All our Python files, by path below the root."""
    found = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return {path.relative_to(ROOT): ast.parse(path.read_text(encoding="utf-8")) for path in found}


def package() -> Mapping[Path, ast.Module]:
    return trees("spotlightd")


def module(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def project() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(outside module, name taken from it or "") for every import that is not relative."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


# -- floors and doors --------------------------------------------------------------------------------------------------


def test_the_import_contract_holds() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_pure_floors_need_the_standard_library_only() -> None:
    pure = next(contract for contract in contracts() if "pure floors" in contract["name"])["source_modules"]
    places = [ROOT / name.replace(".", "/") for name in pure]
    files = [
        path for place in places for path in (place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")])
    ]
    outside = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name, _ in imported(ast.parse(path.read_text(encoding="utf-8")))
        if name.partition(".")[0] not in {*sys.stdlib_module_names, "spotlightd"}
    }
    assert files
    assert not outside


def contracts() -> list[Any]:
    return list(project()["tool"]["importlinter"]["contracts"])


def test_every_outside_library_has_a_door() -> None:
    doors = next(contract for contract in contracts() if "one door" in contract["name"])
    known = {*doors["forbidden_modules"], *FREE, "spotlightd", *sys.stdlib_module_names}
    strangers = {
        f"{path}: {name}"
        for path, tree in package().items()
        for name, _ in imported(tree)
        if name.partition(".")[0] not in known
    }
    assert not strangers, "give each a door in pyproject.toml, contract 'one outside library, one door'"


def test_aiohttp_asks_in_clients_and_answers_in_web_engine_and_demo() -> None:
    wrong = {
        f"{path}: aiohttp.{name}"
        for path, tree in package().items()
        for name in aiohttp_names(tree)
        for named, door in ((ASKING, ASKS), (ANSWERING, ANSWERS))
        if named.search(name) and not door.search(module(path))
    }
    assert not wrong


def aiohttp_names(tree: ast.Module) -> Iterator[str]:
    for name, taken in imported(tree):
        if name.startswith("aiohttp.") or (name == "aiohttp" and taken):
            yield name.partition(".")[2].partition(".")[0] or taken
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "aiohttp":
            yield node.attr


def test_only_the_supervisor_catches_whatever_comes() -> None:
    """Twice, by design. Elsewhere a handler of everything may tidy up, if it ends by raising the same again."""
    broad = [
        (str(path), node)
        for path, tree in package().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and (node.type is None or names_anything(node.type))
    ]
    caught = [(path, node.lineno) for path, node in broad if not is_tidying(node)]
    assert [path for path, _ in caught] in ([], ["spotlightd/flows/supervise.py"] * 2), caught


def is_tidying(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return ast.unparse(handler.type or handler) == "BaseException" and isinstance(last, ast.Raise) and last.exc is None


def test_nothing_is_suppressed_wholesale() -> None:
    wholesale = [
        f"{path}:{node.lineno}"
        for path, tree in package().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        if ast.unparse(node.func).endswith("suppress") and any(map(names_anything, node.args))
    ]
    assert wholesale == []


def test_groups_of_errors_are_taken_apart_by_hand() -> None:
    """Python 3.11.2, Debian 12's own, wraps whatever an `except*` raises in a group again; later ones do not."""
    starred = [
        f"{path}:{node.lineno}"
        for path, tree in package().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.TryStar)
    ]
    assert starred == []


def names_anything(node: ast.expr) -> bool:
    return any(isinstance(one, ast.Name) and one.id in {"Exception", "BaseException"} for one in ast.walk(node))


# -- sizes and names ---------------------------------------------------------------------------------------------------


def test_no_file_is_longer_than_can_be_read_at_once() -> None:
    lengths = {path: (ROOT / path).read_text(encoding="utf-8").count("\n") for path in trees(*OURS)}
    assert {path: length for path, length in lengths.items() if length > LONGEST_FILE} == {}


def test_no_folder_holds_more_modules_than_can_be_overseen() -> None:
    folders = Counter(str(path.parent) for path in package() if path.name != "__init__.py")
    assert {folder: count for folder, count in folders.items() if count > MOST_MODULES} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    lengths = {
        f"{path}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path, tree in trees(*OURS).items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}


def test_no_file_is_named_for_what_it_is_made_of() -> None:
    parts = {(path, part.removesuffix(".py")) for path in trees(*OURS, "tests") for part in path.parts}
    assert [str(path) for path, part in parts if FORBIDDEN_NAMES.search(part)] == []


def test_the_tree_names_no_place_outside_of_it() -> None:
    place = re.compile(r"/(?:work|farm|root/\.|home/[a-z])[/a-z]")
    suffixes = {".py", ".md", ".toml", ".sql", ".html", ".css", ".service", ".json", ".lock", ".yml", ""}
    top = ("Makefile", "README.md", "CHANGELOG.md", "pyproject.toml", "requirements.lock", "requirements-dev.lock")
    folders = (*OURS, "tests", "systemd", "ansible", "grafana", "clickhouse-config", ".ci")
    files = [ROOT / name for name in top] + [
        path for one in folders for path in (ROOT / one).rglob("*") if path.is_file()
    ]
    read = (
        path
        for path in files
        if path.suffix in suffixes and "__pycache__" not in path.parts and "vendor" not in path.parts
    )
    assert [str(path) for path in read if place.search(path.read_text(encoding="utf-8", errors="replace"))] == []


# -- events ------------------------------------------------------------------------------------------------------------


def test_every_event_that_is_logged_is_listed() -> None:
    said = {(str(path), event) for path, tree in package().items() for event in events(tree)}
    assert {one for one in said if one[1] not in EVENTS} == set()


def test_every_listed_event_is_said_somewhere() -> None:
    """Somewhere besides the list itself."""
    texts = Counter(
        str(node.value) for tree in package().values() for node in ast.walk(tree) if isinstance(node, ast.Constant)
    )
    assert {event for event in EVENTS if texts[event] < 2} == set()


def events(tree: ast.Module) -> Iterator[str]:
    """First arguments of calls on a logger, or of `on_event`; one that is no constant must be handed on by an adapter."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and is_logging(node.func):
            choices = (
                [node.args[0].body, node.args[0].orelse] if isinstance(node.args[0], ast.IfExp) else [node.args[0]]
            )
            for one in choices:
                if isinstance(one, ast.Constant):
                    yield str(one.value)
                elif not isinstance(one, ast.Name):
                    yield f"not a constant: {ast.unparse(node)}"


def is_logging(called: ast.expr) -> bool:
    if isinstance(called, ast.Attribute) and called.attr in {
        "debug",
        "info",
        "warning",
        "error",
        "exception",
        "critical",
    }:
        return re.search(r"\b_?log(ger)?\b", ast.unparse(called.value)) is not None
    return ast.unparse(called).endswith("on_event")
