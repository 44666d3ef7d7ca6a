"""Text of others on a terminal, and documents of others in `try` and `audit`."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from spotlightd import log
from spotlightd.cli import main
from spotlightd.commands.output import Out
from spotlightd.errors import FormatError
from spotlightd.printable import TerminalFile, escape_json, escape_text
from spotlightd.sources import sec_ftd
from spotlightd.workers import audit_child

FTD = Path(str(sec_ftd.__file__)).parent.parent / "demo" / "data" / "cnsfails202101a.zip"
HOSTILE = "a\x1b[2Jb\x9b31mc\x07d\x7fe\u202ef\u2066g"
HIDDEN = ("\x1b", "\x9b", "\x07", "\x7f", "\u202e", "\u2066")


@pytest.mark.parametrize("as_json", [False, True])
def test_no_way_of_printing_lets_control_characters_through(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    out = Out(as_json=as_json)
    out.table(("name", "value"), [(HOSTILE, 1)])
    out.value({HOSTILE: [HOSTILE, 1]})
    out.result(HOSTILE, {"detail": HOSTILE})
    out.note(HOSTILE)
    out.error(FormatError(HOSTILE))
    printed = capsys.readouterr()
    for character in HIDDEN:
        assert character not in printed.out
        assert character not in printed.err
    assert "\\x1b[2J" in printed.err


def test_json_keeps_its_value() -> None:
    text = json.dumps({"text": HOSTILE}, ensure_ascii=False)
    assert escape_json(text).isprintable()
    assert json.loads(escape_json(text)) == {"text": HOSTILE}


def test_the_console_log_shows_control_characters() -> None:
    target = io.StringIO()
    try:
        log.configure(form="console", out=target)
        log.logger().warning("source failed", error="boom\x1b]0;owned\x07", names=["\x9b2J"])
    finally:
        log.configure()
    printed = target.getvalue().replace("\x1b[", "")  # the renderer's own colours
    assert "\x1b" not in printed
    assert "\x07" not in printed
    assert "\x9b" not in printed
    assert "owned" in printed


def test_an_export_to_a_terminal_shows_control_characters() -> None:
    target = io.StringIO()
    terminal, data = TerminalFile(target), f"a,{HOSTILE}é\n".encode()
    for position in range(len(data)):  # every character is split somewhere
        terminal.write(data[position : position + 1])
    printed = target.getvalue()
    assert not any(character in printed for character in HIDDEN)
    assert printed.endswith("é\n")


def test_a_plain_text_stays_as_it_is() -> None:
    assert escape_text("é 日本 1,234") == "é 日本 1,234"


@pytest.fixture
def rejected(tmp_path: Path) -> Path:
    """A document with a line that is no row, and that would clear the terminal."""
    path = tmp_path / "cnsfails202101a.zip"
    with zipfile.ZipFile(FTD) as archive:
        name, *_ = archive.namelist()
        lines = archive.read(name).split(b"\n")
    lines[2] = b"20210104|\x1b[2J\x9b31m|bad"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, b"\n".join(lines))
    return path


def test_try_shows_the_control_characters_of_a_rejected_line(
    rejected: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["try", "sec_ftd", str(rejected), "--rows", "2"])
    printed = capsys.readouterr()
    assert status == 0
    assert "\\x1b[2J" in printed.out
    assert "\x1b" not in printed.out + printed.err
    assert "\x9b" not in printed.out + printed.err


def test_try_refuses_a_source_that_cannot_be_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document, source = tmp_path / "x", tmp_path / "mine.py"
    document.write_text("x")
    source.write_text("raise ValueError('no')")
    assert main(["try", str(source), str(document)]) == 78
    assert "cannot be loaded" in capsys.readouterr().err


def audit(path: Path, change: Callable[[list[str | None]], list[str | None]] = list) -> dict[str, Any]:
    """The audit of the first rows of a real document, after a change of each row's values."""
    columns = [column.name for column in sec_ftd.sec_ftd.columns]
    with zipfile.ZipFile(path) as archive:
        lines = archive.read(archive.namelist()[0]).decode("latin-1").splitlines()[1:4]
    rows = []
    for line, text in enumerate(lines, 2):
        read = sec_ftd.reread(text)
        rows.append([0, line, change([audit_child.encode_value(read[name]) for name in columns])])
    request = {
        "path": str(path), "name": path.name, "source": "sec_ftd", "columns": columns, "rows": rows, "most": 2,
        "limits": {}, "place": "spotlightd.sources.sec_ftd",
    }  # fmt: skip
    return audit_child.audit_document(request)


def test_an_audit_finds_every_difference_and_lists_the_first() -> None:
    assert audit(FTD) == {"faults": [], "count": 0}
    changed = audit(FTD, lambda values: [*values[:-1], "x"])
    assert (changed["count"], len(changed["faults"])) == (3, 2)
    assert "'x' in the row" in changed["faults"][0][2]


@pytest.mark.parametrize(
    ("one", "other"), [(Decimal("1.50"), Decimal("1.5")), (Decimal(100), Decimal("100.000")), (date(2021, 1, 4),) * 2]
)
def test_equal_values_have_one_text(one: object, other: object) -> None:
    assert audit_child.encode_value(one) == audit_child.encode_value(other)
    assert audit_child.encode_value(Decimal(100)) == "100"
    assert audit_child.encode_value(None) is None
