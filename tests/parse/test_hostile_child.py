"""What code can do that took over the parser's child, and answers in its place: end its own session, and nothing else."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from spotlightd import Batch, FormatError
from spotlightd.settings.sources import ParserSettings
from spotlightd.workers import child_process, protocol
from spotlightd.workers.parser import ChildParser
from spotlightd.workers.parsing import session
from spotlightd.workers.parsing.session import Child, GroupSession
from spotlightd.workers.protocol import Kind, encode_head, encode_message
from tests.parse import authors

PLACES = {name: str(Path(authors.__file__)) for name, value in vars(authors).items() if isinstance(value, Batch)}
DEEP = b"[" * 200_000 + b"]" * 200_000
GOOD = {"rows": {"first": 0, "second": 0}, "lines": 0, "content": ""}


def message(kind: Kind, text: bytes) -> bytes:
    return encode_head(kind, len(text)) + text


def done(**fields: Any) -> bytes:
    return encode_message(Kind.DONE, GOOD | fields)


ANSWERS = {
    "deep": message(Kind.REJECTS, DEEP),
    "deep objects": message(Kind.DONE, b'{"a":' * 100_000),
    "many values": message(Kind.REJECTS, b"[" + b"0," * 500_000 + b"0]"),
    "no text": message(Kind.FAILED, b"\xff\xfe"),
    "rows are a text": done(rows="abc"),
    "rows are a list": done(rows=[]),
    "rows of other datasets": done(rows={"first": 1}),
    "rows are no number": done(rows={"first": "1", "second": 0}),
    "rows are infinite": message(Kind.DONE, b'{"rows":{"first":Infinity,"second":0},"lines":0,"content":""}'),
    "rows are fewer than none": done(rows={"first": -1, "second": 0}),
    "rows are too many": done(rows={"first": 1 << 63, "second": 0}),
    "lines are a list": done(lines=[]),
    "lines are infinite": message(Kind.DONE, b'{"rows":{"first":0,"second":0},"lines":1e999,"content":""}'),
    "lines are true": done(lines=True),
    "a very long number": message(Kind.DONE, b'{"rows":{},"lines":' + b"9" * 5_000 + b',"content":""}'),
    "content is an object": done(content={}),
    "content is long": done(content="x" * 200),
    "a field too many": done(more=1),
    "no object": encode_message(Kind.DONE, [1]),
    "the message is a list": encode_message(Kind.FAILED, {"message": [[[1]]], "member": 0, "line": 0}),
    "the member is a text": encode_message(Kind.FAILED, {"message": "x", "member": "\0", "line": 0}),
    "the line is an object": encode_message(Kind.FAILED, {"message": "x", "member": 0, "line": {}}),
    "a message without end": encode_message(Kind.FAILED, {"message": "x" * 5_000, "member": 0, "line": 0}),
    "half a character": message(Kind.FAILED, b'{"message": "\\ud800", "member": 0, "line": 0}'),
    "rejects are an object": encode_message(Kind.REJECTS, {"a": 1}),
    "a reject is a text": encode_message(Kind.REJECTS, ["abcde"]),
    "a reject has no reason": encode_message(Kind.REJECTS, [[0, 1, "x"]]),
    "a reject of other types": encode_message(Kind.REJECTS, [[{}, [], {"a": 1}, None, "x"]]),
    "a line that no column holds": encode_message(Kind.REJECTS, [[0, 1 << 32, "x", "y", False]]),
    "a stream that nobody declared": encode_head(Kind.BLOCK, 1, 7) + b"x",
    "an end that was not asked for": encode_message(Kind.END, {}),
    "two answers": done() + done(),
    "another start": encode_message(Kind.READY, {"confinement": "x"}),
}
OUT_OF_TURN = list(ANSWERS.values())[-3:]


@pytest.fixture
async def parser() -> AsyncIterator[ChildParser]:
    async with ChildParser(ParserSettings(wall_seconds=60), PLACES) as opened:
        yield opened


async def refuse(parser: ChildParser, document: Path, answer: bytes) -> tuple[FormatError, psutil.Process]:
    """The error of a document whose reading ends with that answer, and the child, after the rows have ended too."""
    document.write_bytes(answer)
    async with asyncio.timeout(120), parser.parse(authors.hostile, document, "x", load_id=1) as parsing:
        assert parser._child is not None
        child = psutil.Process(parser._child.process.pid)
        with pytest.raises(FormatError) as refused:
            await parsing.result()
        for dataset in authors.hostile.datasets:
            assert b"".join([piece async for piece in parsing.columns(dataset.name)]) == b""
    return refused.value, child


@asynccontextmanager
async def open_session(inbox: Path) -> AsyncIterator[tuple[GroupSession, Child]]:
    """A session whose child is a process that says back what it is asked. What it answers is fed to `frames`."""
    process = await asyncio.create_subprocess_exec(
        "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None
    child = Child(process, process.stdin, asyncio.StreamReader())
    group = GroupSession(child, ParserSettings(), inbox, {}, authors.hostile.datasets)
    pump = asyncio.create_task(group.pump())
    try:
        yield group, child
    finally:
        pump.cancel()
        await asyncio.wait([pump])
        child_process.kill_group(process)
        await process.wait()


async def read_group(group: GroupSession, document: Path) -> None:
    await group.read(document, "x", load_id=1)
    await group.finish()


async def refuse_in_session(folder: Path, answer: bytes) -> str:
    """Why an answer to the first request of a group is refused. The child has been killed then, and the streams end."""
    (folder / "inbox").mkdir()
    (folder / "document").touch()
    async with asyncio.timeout(60), open_session(folder / "inbox") as (group, child):
        reading = asyncio.create_task(read_group(group, folder / "document"))
        assert child.process.stdout is not None
        assert b'"parse"' in await child.process.stdout.readline()
        child.frames.feed_data(answer)
        with pytest.raises(FormatError) as refused:
            await reading
        assert await child.process.wait() == -signal.SIGKILL
        for dataset in authors.hostile.datasets:
            assert [piece async for piece in group.columns(dataset.name)] == []
        assert group.problem == str(refused.value)
    return group.problem


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
async def test_an_answer_that_is_none_refuses_the_document_at_once_and_ends_the_child(
    tmp_path: Path, answer: bytes
) -> None:
    problem = await refuse_in_session(tmp_path, answer)
    assert problem.startswith("the parser's child process sent no valid answer: ")
    assert ("answers no request" in problem) is (answer in OUT_OF_TURN)
    assert len(problem) <= 4_000


@pytest.mark.parametrize("problem", [MemoryError(), RecursionError(), ArithmeticError()], ids=repr)
async def test_whatever_goes_wrong_while_an_answer_is_read_ends_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    """Also what nobody thought of."""

    def fail(_: bytes) -> None:
        raise problem

    monkeypatch.setattr(protocol, "decode_json", fail)
    assert repr(problem) in await refuse_in_session(tmp_path, done())


async def test_the_rejected_lines_of_a_document_have_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MOST_REJECTS", 100)
    answer = encode_message(Kind.REJECTS, [[0, 1, "", "", False]] * 101)
    assert "more than 100 rejected lines" in await refuse_in_session(tmp_path, answer)


@pytest.mark.parametrize("answer", [ANSWERS["deep"], ANSWERS["two answers"]], ids=["deep", "two answers"])
async def test_after_a_hostile_child_the_next_document_is_read(
    parser: ChildParser, tmp_path: Path, answer: bytes
) -> None:
    refused, child = await refuse(parser, tmp_path / "document", answer)
    assert "sent no valid answer" in str(refused)
    assert not child.is_running()
    (tmp_path / "document").write_text("1")
    async with asyncio.timeout(120), parser.parse(authors.good, tmp_path / "document", "x", load_id=2) as parsing:
        for dataset in authors.good.datasets:
            async for _ in parsing.columns(dataset.name):
                pass
        assert (await parsing.result()).lines == 5


@pytest.mark.parametrize("answer", [encode_head(Kind.BLOCK, 1 << 30), encode_head(Kind.DONE, 100), done()])
async def test_a_child_that_is_silent_in_the_middle_is_ended_in_time(tmp_path: Path, answer: bytes) -> None:
    async with ChildParser(ParserSettings(wall_seconds=0.5), PLACES) as parser:
        refused, child = await refuse(parser, tmp_path / "document", answer)
    assert str(refused) == "reading it took more than 0.5 seconds (parser.wall_seconds)"
    assert not child.is_running()


async def test_a_source_has_the_threads_that_were_started_for_it_and_no_others(
    parser: ChildParser, tmp_path: Path
) -> None:
    document = tmp_path / "document"
    document.write_text("3000")
    async with parser.parse(authors.threads, document, "x", load_id=1) as parsing:
        for dataset in authors.threads.datasets:
            async for _ in parsing.columns(dataset.name):
                pass
        rejects = (await parsing.result()).rejects
    is_confined = parser.confinement.endswith(", seccomp")
    assert [reject.text for reject in rejects] == ["0" if is_confined else "3000"]
