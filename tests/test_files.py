"""The one way of writing a file: complete or not at all, through no link, and nowhere else in the package."""

from __future__ import annotations

import ast
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from spotlightd import files

PACKAGE = Path(files.__file__).parent
WRITING_MODES = frozenset("wax+")
WRITERS = {"write_text", "write_bytes", "touch", "symlink_to", "NamedTemporaryFile", "mkstemp"}
COPIERS = {"shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.copytree", "shutil.move"}
WRITING_FLAGS = ("O_WRONLY", "O_RDWR", "O_CREAT")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of the victim, to which an attacker's links lead."""
    path = tmp_path / "victim" / "authorized_keys"
    path.parent.mkdir()
    path.write_text("mine")
    return path


def test_a_link_under_the_final_name_is_replaced_and_its_target_is_not_touched(tmp_path: Path, secret: Path) -> None:
    path = tmp_path / "out.csv"
    path.symlink_to(secret)
    files.write_file(path, b"rows", 0o640)
    assert (path.is_symlink(), path.read_bytes(), secret.read_text()) == (False, b"rows", "mine")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_link_that_leads_nowhere_creates_nothing_where_it_leads(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.symlink_to(tmp_path / "elsewhere")
    files.write_file(path, b"rows")
    assert not (tmp_path / "elsewhere").exists()
    other = tmp_path / "bundle.tar"
    other.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        files.write_file(other, b"rows", replaces=False)
    assert not (tmp_path / "elsewhere").exists()


def test_the_name_under_which_it_is_written_is_random_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    names = set()
    for _ in range(3):
        with files.replace_file(tmp_path / "out.csv", 0o644) as file:
            (part,) = [path for path in tmp_path.iterdir() if path.name != "out.csv"]
            names.add(part.name)
            assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600
    assert len(names) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_a_file_that_is_not_completed_leaves_the_earlier_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("before")
    with suppress(ZeroDivisionError), files.replace_file(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out.csv", "before")]


def test_a_name_that_was_taken_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new.tar"
    new = files.NewFile(path, replaces=False)
    path.write_text("another's")
    with pytest.raises(FileExistsError):
        new.commit()
    new.discard()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("new.tar", "another's")]


@pytest.mark.parametrize("kind", ["folder", "device", "link to a device"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = {"folder": tmp_path, "device": Path("/dev/null"), "link to a device": tmp_path / "link"}[kind]
    if kind == "link to a device":
        path.symlink_to("/dev/null")
    with pytest.raises(FileExistsError, match="it is not a file"):
        files.write_file(path, b"x")
    assert Path("/dev/null").is_char_device()


def test_scratch_files_and_locks_follow_no_link(tmp_path: Path, secret: Path) -> None:
    for name in ("scratch", "lock", "existing"):
        (tmp_path / name).symlink_to(secret)
    with files.open_scratch(tmp_path / "scratch") as file:
        file.write(b"x")
    for opened in (files.open_lock, files.open_existing):
        with pytest.raises(OSError, match="symbolic link"):
            opened(tmp_path / opened.__name__.removeprefix("open_"))
    assert secret.read_text() == "mine"


def test_no_other_module_opens_a_file_for_writing() -> None:
    """SQLite opens its own files, in the state folder, which only the daemon's user can enter."""
    found = {
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        if path != Path(files.__file__)
        for node in writing_calls(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == set(), "use spotlightd.files"


def writing_calls(tree: ast.Module) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (is_writer(node) or has_writing_mode(node) or has_writing_flags(node)):
            yield node


def is_writer(call: ast.Call) -> bool:
    return (isinstance(call.func, ast.Attribute) and call.func.attr in WRITERS) or ast.unparse(call.func) in COPIERS


def has_writing_mode(call: ast.Call) -> bool:
    """`open(path, "wb")` and `path.open("wb")`; a descriptor that is open already is not opened."""
    name = ast.unparse(call.func).rpartition(".")[2]
    if name != "open":
        return False
    texts = [argument.value for argument in (*call.args, *(keyword.value for keyword in call.keywords))
             if isinstance(argument, ast.Constant) and isinstance(argument.value, str)]  # fmt: skip
    return any(len(text) <= 3 and set(text) & WRITING_MODES for text in texts)


def has_writing_flags(call: ast.Call) -> bool:
    return ast.unparse(call.func) == "os.open" and any(flag in ast.unparse(call) for flag in WRITING_FLAGS)
