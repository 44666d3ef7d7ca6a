"""`check` and `run` refuse the same, in the same sentence, with the same status, and before anything is touched."""

from __future__ import annotations

import asyncio
import os
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from spotlightd import cli
from spotlightd.commands.command import Command
from spotlightd.errors import InUseError, PublisherError, SettingsError, StoreError, find_cause
from spotlightd.web.app import serve

KEY = "c0ffeec0ffee17c0ffee"


def write_key(folder: Path, mode: int) -> Path:
    path = folder / "finnhub.key"
    path.write_text(KEY)
    path.chmod(mode)
    return path


def stream(key: Path | str) -> str:
    return f"[streams]\nsymbols = {{ finnhub = ['AAPL'] }}\nkey_files = {{ finnhub = '{key}' }}\n"


REFUSALS: dict[str, Callable[[Path], tuple[str, str]]] = {
    "key missing": lambda folder: (stream(folder / "none.key"), "none.key cannot be read: No such file or directory"),
    "key 0644": lambda folder: (stream(write_key(folder, 0o644)), "can be read by others: chmod 600"),
    "key not named": lambda _: ("[streams]\nsymbols = { finnhub = ['AAPL'] }\n", "streams.key_files.finnhub names no file"),
    "key is a folder": lambda folder: (stream(folder), "is not a file"),
    "key written instead of its file": lambda _: (stream(KEY), "(a text of 20 characters, not shown: it may be a secret) cannot be read"),
    "misspelt stream": lambda _: ("[streams]\nenabled = ['finhub']\n", "names no stream: 'finhub'; there are: finnhub"),
    "unknown source": lambda _: ("[schedule]\nsources = ['sec_fdt']\n", "schedule.sources names no source: 'sec_fdt'"),
    "open explorer": lambda _: ("[web]\nhost = '0.0.0.0'\n", "or set web.behind_proxy = true"),
    "open explorer, IPv6": lambda _: ("[web]\nhost = '::'\n", "can be reached from other machines"),
    "open explorer, every address": lambda _: ("[web]\nhost = ''\n", "can be reached from other machines"),
    "open metrics": lambda _: ("[metrics]\nhost = '0.0.0.0'\nport = 9108\n", "or set metrics.token_file"),
    "port that does not exist": lambda _: ("[web]\nport = 70000\n", "web.port must be at most 65535, not 70000"),
    "threads without end": lambda _: ("[engine]\nthreads = 100000\n", "engine.threads must be at most 1024, not 100000"),
    "no reader": lambda _: ("[engine]\nreaders = 0\n", "engine.readers must be at least 1, not 0"),
    "nested too deep": lambda _: ("deep = " + "[" * 3_000 + "\n", "nested too deep"),
    "token 0644": lambda folder: (
        f"[web]\nhost = '0.0.0.0'\ntoken_file = '{write_key(folder, 0o644)}'\n", "can be read by others"),
    "no password at the broker": lambda _: (
        "[bus]\nkind = 'kafka'\nsecurity = 'SASL_SSL'\n", "setting bus.password_file names no file"),
    "bucket keys 0644": lambda folder: (
        f"[bucket]\nkind = 's3'\naccess_key_file = '{write_key(folder, 0o644)}'\n", "can be read by others"),
}  # fmt: skip


@pytest.mark.parametrize("refusal", REFUSALS)
def test_check_and_run_refuse_the_same_with_78(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], refusal: str
) -> None:
    text, reason = REFUSALS[refusal](tmp_path)
    errors = [verdict(tmp_path, text, name, capsys) for name in ("check", "run")]
    assert errors[0] == errors[1]
    assert errors[0].startswith("spotlightd: ")
    assert errors[0].count("\n") == 1
    assert reason in errors[0]
    assert KEY not in errors[0]


def verdict(folder: Path, text: str, name: str, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """What the command prints on standard error; it must end with 78, and must not have started an engine."""
    config = folder / "spotlightd.toml"
    sections = "" if "[metrics]" in text else "[metrics]\nport = 0\n"
    config.write_text(f"state_dir = '{folder / 'state'}'\n{text}{sections}[log]\nlevel = 'error'\n")
    assert cli.main([name, "--config", str(config), *options]) == 78
    assert not (folder / "state" / "engine").exists()
    return capsys.readouterr().err


def test_check_and_run_refuse_the_state_folder_of_another_user(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, owner = Path("/"), "user root"
    if os.geteuid() == 0:
        state, owner = tmp_path / "theirs", "user 4242"
        state.mkdir(mode=0o755)
        os.chown(state, 4242, 4242)
    errors = [verdict(tmp_path, "", name, capsys, "--state", str(state)) for name in ("check", "run")]
    assert errors[0] == errors[1]
    assert f"state folder {state} belongs to {owner}" in errors[0]
    assert errors[0].count("\n") == 1


def test_check_and_run_refuse_a_source_that_cannot_be_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "state" / "sources"
    folder.mkdir(parents=True)
    for text, reason in (
        ("1 / 0\n", "ZeroDivisionError"),
        ("import sys\nsys.exit('needs lxml')\n", "SystemExit: needs lxml"),
    ):
        (folder / "mine.py").write_text(text)
        errors = [verdict(tmp_path, "", name, capsys) for name in ("check", "run")]
        assert errors[0] == errors[1]
        assert f"mine.py cannot be loaded: {reason}" in errors[0]


async def test_a_name_that_no_host_can_have_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python encodes a name before it looks it up, and `a..b` cannot be encoded."""

    async def encode(host: str, _: int) -> list[Any]:
        raise UnicodeError(host)

    monkeypatch.setattr("spotlightd.web.app.bind", encode)
    with pytest.raises(SettingsError, match=r"cannot listen on 'a\.\.b'"):
        async with serve(web.Application(), "a..b", 0):
            pass


# -- errors that come in groups ----------------------------------------------------------------------------------------


def run_command(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    """The status of a command in whose group of tasks that error is raised."""

    async def run(*_: Any) -> int:
        async with asyncio.TaskGroup() as outer, asyncio.TaskGroup() as group:
            outer.create_task(asyncio.sleep(60))
            group.create_task(asyncio.sleep(60))
            raise error

    monkeypatch.setattr(cli, "find_commands", lambda _: (Command("fail", "fail", "spotlightd fail", (), run),))
    return cli.main(["fail"], types.ModuleType("package"))


@pytest.mark.parametrize(
    ("error", "status"),
    [(SettingsError("no"), 78), (InUseError("no"), 75), (StoreError("no"), 74), (PublisherError("no"), 69)],
)
def test_an_error_that_ends_a_group_of_tasks_has_its_own_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, status: int
) -> None:
    assert run_command(error, monkeypatch) == status
    assert capsys.readouterr().err == "spotlightd: no\n"


def test_a_bug_in_a_group_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BaseExceptionGroup):
        run_command(ZeroDivisionError("bug"), monkeypatch)


def test_of_several_errors_the_one_that_must_be_corrected_counts() -> None:
    settings, store = SettingsError("correct it"), StoreError("wait")
    assert find_cause(BaseExceptionGroup("", [store, ExceptionGroup("", [settings])])) is settings
    assert find_cause(BaseExceptionGroup("", [store, ZeroDivisionError()])) is None
