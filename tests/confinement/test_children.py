"""How children are started, given their document, and ended."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import psutil
import pytest

from spotlightd import StoreError
from spotlightd.confinement import confine
from spotlightd.confinement.answers import read_object
from spotlightd.errors import FormatError
from spotlightd.settings.sources import ParserSettings
from spotlightd.workers import child_process, inbox
from spotlightd.workers.parser import ChildParser
from tests.parse import authors

GRANDCHILD = "import os, time; os.fork(); print(os.getpid(), flush=True); time.sleep(1000)"


def replace_code(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Make each child run other code, unconfined."""
    real = asyncio.create_subprocess_exec

    async def start(program: str, *_: str, **options: Any) -> asyncio.subprocess.Process:
        return await real(program, "-c", code, **options)

    monkeypatch.setattr("spotlightd.workers.child_process.asyncio.create_subprocess_exec", start)


async def test_what_a_child_started_is_killed_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no seccomp refuses to start a process, the group is killed whole."""
    replace_code(monkeypatch, GRANDCHILD)
    process = await child_process.start_child("anything")
    assert process.stdout is not None
    processes = [psutil.Process(int(await process.stdout.readline())) for _ in range(2)]
    child_process.kill_group(process)
    await process.wait()
    gone, alive = await asyncio.to_thread(psutil.wait_procs, processes, timeout=10)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
    assert len(gone) + len(alive) == 2


async def test_a_child_that_ended_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers and ends by itself, and a process that it started lives on."""
    code = "import os, time; child = os.fork()\nif not child: os.close(1); time.sleep(1000)\nprint('{}\\ndone', flush=True)"
    replace_code(monkeypatch, code)
    output = await child_process.run_child("anything", {}, seconds=30, most_bytes=1_000)
    assert (output.status, output.answer) == (0, b"done\n")
    group = [process for process in psutil.process_iter() if _command(process) == code]
    _, alive = await asyncio.to_thread(psutil.wait_procs, group, timeout=10)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


def _command(process: psutil.Process) -> str:
    try:
        return str((process.cmdline() or [""])[-1])
    except psutil.Error:
        return ""


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('{}')", "sent no valid answer"),
        ("print('{}\\n[1]')", "sent no valid answer"),
        ("print('{}\\n{')", "sent no valid answer"),
        ("print('{}\\n' + '[' * 30_000)", "nested more than 8 deep"),
        ('print(\'{}\\n{"error": [[1]], "member": 0, "line": 0}\')', "a text of at most"),
        ('print(\'{}\\n{"error": "x", "member": 0, "line": Infinity}\')', "a number from 0"),
        ("print('{}\\n{\"setting\": {}}')", "a text of at most"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "or crashed the parser"),
        ("import sys; sys.exit(3)", "ended while reading it"),
        ("import time; time.sleep(100)", "took more than 0.3 seconds"),
        ("while True: print('x' * 1000)", "it is too long"),
    ],
)
async def test_a_child_that_does_not_answer_is_a_format_error(
    monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    replace_code(monkeypatch, code)
    monkeypatch.setattr(child_process, "ANSWER_BYTES", 1 << 16)
    limits = ParserSettings(wall_seconds=0.3 if "sleep" in code else 60.0)
    with pytest.raises(FormatError, match=message):
        await child_process.read_document("anything", {"path": "x"}, limits, read_object)


async def test_the_inbox_holds_the_newest_document_and_no_other(tmp_path: Path) -> None:
    folder, document = tmp_path / "state" / "inbox", tmp_path / "document.txt"
    document.write_text("x")
    await inbox.create_inbox(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    placed = await inbox.put_document(document, folder)
    assert placed.name == "document.txt"
    assert placed.samefile(document)  # a second name: no byte is copied
    (tmp_path / "next").write_text("y")
    assert list(folder.iterdir()) == [placed]
    assert await inbox.put_document(tmp_path / "next", folder) == folder / "next"
    assert list(folder.iterdir()) == [folder / "next"]
    await inbox.empty_inbox(folder)
    assert list(folder.iterdir()) == []
    assert document.read_text() == "x"


async def test_a_document_on_another_disk_is_copied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    document = tmp_path / "document.txt"
    document.write_text("x")
    await inbox.create_inbox(tmp_path / "inbox")
    placed = await inbox.put_document(document, tmp_path / "inbox")
    assert (placed.read_text(), placed.samefile(document)) == ("x", False)


async def test_what_a_crash_left_in_the_inbox_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    await inbox.create_inbox(folder)
    (folder / "left").write_text("x")
    await inbox.create_inbox(folder)
    assert list(folder.iterdir()) == []


async def test_a_missing_document_is_the_stores_error(tmp_path: Path) -> None:
    await inbox.create_inbox(tmp_path / "inbox")
    with pytest.raises(StoreError, match="cannot be given to the parser"):
        await inbox.put_document(tmp_path / "nowhere", tmp_path / "inbox")


async def test_the_parser_says_how_its_child_is_confined_and_warns_when_something_is_missing(tmp_path: Path) -> None:
    events: list[tuple[str, dict[str, Any]]] = []

    def log(event: str, **fields: Any) -> None:
        events.append((event, fields))

    async with ChildParser(ParserSettings(), log=log, inbox=tmp_path / "inbox") as parser:
        assert parser.confinement.startswith(("Landlock ABI", "no Landlock"))
    assert not (tmp_path / "inbox").exists()
    events.clear()
    missing = "no Landlock: Function not implemented, seccomp"
    confinement = child_process.warn_unless_confined("parser", missing, "", log)
    assert child_process.warn_unless_confined("parser", missing, confinement, log) == missing
    assert child_process.warn_unless_confined("parser", "Landlock ABI 6, seccomp", missing, log)
    assert events == [("child not confined", {"child": "parser", "confinement": missing})]


async def test_a_source_file_reads_installed_packages_and_its_document_and_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside").write_text("secret")
    code = """
def mine_parse(body):
    import email.mime.text, pyarrow.csv
    yield Reject(0, 1, body.path.read_text(), str(sorted(os.listdir(body.path.parent))))
    try:
        yield Reject(0, 2, open(FOLDER + "/beside").read(), "")
    except OSError as problem:
        yield Reject(0, 2, type(problem).__name__, "")
mine = source("mine", mine_parse)
"""
    mine, document = tmp_path / "mine.py", tmp_path / "document"
    mine.write_text(f"{Path(authors.__file__).read_text()}\nFOLDER = {str(tmp_path)!r}\n{code}")
    document.write_text("text")
    source = authors.source("mine", authors.good_parse)
    async with (
        ChildParser(ParserSettings(), {"mine": str(mine)}) as parser,
        parser.parse(source, document, "document", load_id=1) as session,
    ):
        for dataset in source.datasets:
            async for _ in session.columns(dataset.name):
                pass
        first, second = (await session.result()).rejects
        is_whole = confine.is_whole(parser.confinement)
    assert (first.text, first.reason) == ("text", "['document']")
    assert second.text == ("PermissionError" if is_whole else "secret")
