"""Rules of the code that tools do not check: layers, outside libraries, sizes, names."""

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

# Files that get an entry with each new feature must leave room for it: two thirds of LONGEST_FILE.
GROWING = ("spotlightd/settings/*.py", "spotlightd/datasets/system*.py", "spotlightd/metrics/*.py", "spotlightd/cli.py")
MOST_GROWING_LINES = 200

# Words that no public name may have: verbs of speech, moods, riddles. A standard term of the field is better.
RIDDLES = re.compile(
    r"ahead|amiss|asked|bells|desk|fruitful|heard|here|house|hurry|keeping|kept|lean|made|means|obey|owned|partly|patience"
    r"|pin|pulse|riddle|said|says|seen|settle|settled|shown|somebody|stowing|stuck|stuff|thing|told|trouble|whoever|wish"
)
TERMS = re.compile("ClickHouse")  # names of products
LOG_METHODS = frozenset({"debug", "info", "warning", "error", "exception", "critical"})

# aiohttp has two doors, which import-linter cannot tell apart: a client, and a server.
CLIENT_NAMES = re.compile(r"^(client|request$|Client|Connection|Server|Trace)|(Connector|Resolver|CookieJar)$")
SERVER_NAMES = re.compile(r"^web")
CLIENT_MODULES = re.compile(r"^spotlightd\.clients\.")
SERVER_MODULES = re.compile(r"^spotlightd\.(server|web|engine|demo)\b")
# yarl is the address type of aiohttp and is used with it; numpy and pyarrow are allowed from parse up.
FREE = {"aiohttp", "yarl", "numpy", "pyarrow"}


@cache
def trees(*folders: str) -> Mapping[Path, ast.Module]:
    """The syntax trees of all Python files, by path below the root."""
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return {path.relative_to(ROOT): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def package() -> Mapping[Path, ast.Module]:
    return trees("spotlightd")


def module(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def project() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(module, imported name or "") for every import that is not relative."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


# -- layers and outside libraries --------------------------------------------------------------------------------------


def test_the_import_contract_holds() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    result = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_pure_layers_need_the_standard_library_only() -> None:
    pure = next(contract for contract in contracts() if "pure floors" in contract["name"])["source_modules"]
    roots = [ROOT / name.replace(".", "/") for name in pure]
    files = [path for root in roots for path in (root.rglob("*.py") if root.is_dir() else [root.with_suffix(".py")])]
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
    undeclared = {
        f"{path}: {name}"
        for path, tree in package().items()
        for name, _ in imported(tree)
        if name.partition(".")[0] not in known
    }
    assert not undeclared, "give each a door in pyproject.toml, contract 'one outside library, one door'"


def test_aiohttp_is_a_client_in_clients_and_a_server_in_server_web_engine_and_demo() -> None:
    misplaced = {
        f"{path}: aiohttp.{name}"
        for path, tree in package().items()
        for name in aiohttp_names(tree)
        for names, modules in ((CLIENT_NAMES, CLIENT_MODULES), (SERVER_NAMES, SERVER_MODULES))
        if names.search(name) and not modules.search(module(path))
    }
    assert not misplaced


def aiohttp_names(tree: ast.Module) -> Iterator[str]:
    for name, taken in imported(tree):
        if name.startswith("aiohttp.") or (name == "aiohttp" and taken):
            yield name.partition(".")[2].partition(".")[0] or taken
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "aiohttp":
            yield node.attr


def test_only_the_supervisor_catches_every_exception() -> None:
    """Twice, by design. Elsewhere a handler of every exception may clean up, if it raises the same exception again."""
    broad = [
        (str(path), node)
        for path, tree in package().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and (node.type is None or catches_everything(node.type))
    ]
    caught = [(path, node.lineno) for path, node in broad if not is_cleanup(node)]
    assert [path for path, _ in caught] in ([], ["spotlightd/flows/supervise.py"] * 2), caught


def is_cleanup(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return ast.unparse(handler.type or handler) == "BaseException" and isinstance(last, ast.Raise) and last.exc is None


def test_no_suppress_of_every_exception() -> None:
    suppressed = [
        f"{path}:{node.lineno}"
        for path, tree in package().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        if ast.unparse(node.func).endswith("suppress") and any(map(catches_everything, node.args))
    ]
    assert suppressed == []


def test_no_except_star() -> None:
    """Python 3.11.2, the one of Debian 12, wraps what an `except*` raises in a group again; later versions do not."""
    starred = [
        f"{path}:{node.lineno}"
        for path, tree in package().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.TryStar)
    ]
    assert starred == []


def catches_everything(node: ast.expr) -> bool:
    return any(isinstance(child, ast.Name) and child.id in {"Exception", "BaseException"} for child in ast.walk(node))


# -- sizes and names ---------------------------------------------------------------------------------------------------


def test_no_file_is_too_long() -> None:
    lengths = {path: (ROOT / path).read_text(encoding="utf-8").count("\n") for path in trees(*OURS)}
    assert {path: length for path, length in lengths.items() if length > LONGEST_FILE} == {}


def test_files_that_grow_leave_room() -> None:
    paths = [path for pattern in GROWING for path in ROOT.glob(pattern)]
    lengths = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n") for path in paths}
    assert len(lengths) >= 12
    assert {path: length for path, length in lengths.items() if length > MOST_GROWING_LINES} == {}


def test_no_folder_has_too_many_modules() -> None:
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


def test_no_file_has_a_name_without_meaning() -> None:
    parts = {(path, part.removesuffix(".py")) for path in trees(*OURS, "tests") for part in path.parts}
    assert [str(path) for path, part in parts if FORBIDDEN_NAMES.search(part)] == []


def test_no_file_names_a_folder_outside_of_the_repository() -> None:
    outside = re.compile(r"/(?:work(?!book|sheet)|farm|root/\.|home/[a-z])[/a-z]")
    suffixes = {".py", ".md", ".toml", ".sql", ".html", ".css", ".service", ".json", ".lock", ".yml", ""}
    top = ("Makefile", "README.md", "CHANGELOG.md", "pyproject.toml", "requirements.lock", "requirements-dev.lock")
    folders = (*OURS, "tests", "systemd", "ansible", "grafana", "clickhouse-config", ".ci")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    texts = [ROOT / name for name in top]
    texts += [path for path in files if path.suffix in suffixes and not {"__pycache__", "vendor"} & {*path.parts}]
    assert [str(path) for path in texts if outside.search(path.read_text(encoding="utf-8", errors="replace"))] == []


def test_no_public_name_is_a_riddle() -> None:
    riddles = [
        f"{path}:{line} {name}"
        for path, tree in package().items()
        for line, name in [(1, path.stem), *public_names(tree)]
        if any(map(RIDDLES.fullmatch, words_of(name)))
    ]
    assert riddles == [], "use the standard term of the field"


def test_a_loop_variable_has_the_name_of_the_thing() -> None:
    nameless = [
        f"{path}:{node.target.lineno}"
        for path, tree in package().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension)
        if any(isinstance(target, ast.Name) and target.id == "one" for target in ast.walk(node.target))
    ]
    assert nameless == []


def public_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of each class, function, argument, constant and field of a module."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef) and not is_private(node.name):
            yield node.lineno, node.name
            yield from public_names(node)
            stored = [
                child
                for child in ast.walk(node)
                if isinstance(child, ast.Attribute) and isinstance(child.ctx, ast.Store)
            ]
            yield from ((child.lineno, child.attr) for child in stored if not is_private(child.attr))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not is_private(node.name):
            yield node.lineno, node.name
            arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            yield from ((argument.lineno, argument.arg) for argument in arguments)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [name for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
            yield from ((name.lineno, name.id) for name in names if not is_private(name.id))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def words_of(name: str) -> set[str]:
    return set(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", TERMS.sub("", name)).lower().split("_"))


# -- events ------------------------------------------------------------------------------------------------------------


def test_every_event_that_is_logged_is_listed() -> None:
    logged = {(str(path), event) for path, tree in package().items() for event in events(tree)}
    assert {(path, event) for path, event in logged if event not in EVENTS} == set()


def test_every_listed_event_is_logged() -> None:
    """By a module other than the one with the list."""
    texts = Counter(
        str(node.value) for tree in package().values() for node in ast.walk(tree) if isinstance(node, ast.Constant)
    )
    assert {event for event in EVENTS if texts[event] < 2} == set()


def events(tree: ast.Module) -> Iterator[str]:
    """First arguments of calls on a logger, or of `on_event`. One that is not a constant must come from an adapter."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and is_logging(node.func):
            choices = (
                [node.args[0].body, node.args[0].orelse] if isinstance(node.args[0], ast.IfExp) else [node.args[0]]
            )
            for choice in choices:
                if isinstance(choice, ast.Constant):
                    yield str(choice.value)
                elif not isinstance(choice, ast.Name):
                    yield f"not a constant: {ast.unparse(node)}"


def is_logging(called: ast.expr) -> bool:
    if isinstance(called, ast.Attribute) and called.attr in LOG_METHODS:
        return re.search(r"\b_?log(ger)?\b", ast.unparse(called.value)) is not None
    return ast.unparse(called).endswith("on_event")
