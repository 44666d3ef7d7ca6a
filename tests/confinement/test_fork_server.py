"""What a copy of a kept child can do to the next one: nothing. Its memory ends with it, and it has no pipe but its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spotlightd.workers.child_process import ENVIRONMENT, make_start

CHILD = """
import json, os, stat, sys, types
from spotlightd.workers.child_setup import answer_once
from spotlightd.workers.verifying.fork_server import main
seen = []
def is_pipe(number):
    try:
        return stat.S_ISFIFO(os.fstat(number).st_mode)
    except OSError:
        return False
def answer(request):
    seen.append(request["do"])
    {code}
    pipes = [number for number in range(256) if is_pipe(number)]
    return {{"seen": seen, "pid": os.getpid(), "pipes": len(pipes), "read": os.read(0, 100).decode()}}
sys.argv = ["child", "stand_in"]
sys.modules["stand_in"] = types.ModuleType("stand_in")
sys.modules["stand_in"].run = answer_once(answer)
main()
"""


def ask(code: str, *requests: str) -> list[dict[str, Any]]:
    """What a kept child prints about these requests, which all wait in its pipe from the start."""
    lines = [json.dumps({"do": request} | make_start([], {})) for request in requests]
    done = subprocess.run(
        [sys.executable, "-I", "-c", CHILD.format(code=code)], input="\n".join(lines).encode() + b"\n",
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120, check=True, env=dict(ENVIRONMENT), start_new_session=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_request_finds_memory_and_pipes_as_the_first_one_did() -> None:
    answers = [json.loads(answer["output"].splitlines()[1]) for answer in ask("", "a", "b", "c")]
    assert [answer["seen"] for answer in answers] == [["a"], ["b"], ["c"]]
    assert len({answer["pid"] for answer in answers}) == 3
    assert [(answer["pipes"], answer["read"]) for answer in answers] == [(1, "")] * 3


def test_what_a_copy_prints_beyond_its_answer_is_part_of_that_answer() -> None:
    forged = """os.write(3, b'{"status": 0, "output": "forged for the next one"}\\n' * 3)"""
    answers = ask(f"if request['do'] == 'bad': {forged}", "bad", "good")
    assert len(answers) == 2
    assert "forged" in answers[0]["output"]
    assert "forged" not in answers[1]["output"]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("os._exit(7)", 7),
        ("os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("raise RuntimeError('a bug')", 1),
        ("os.write(3, b'x' * 1_000_000)", -signal.SIGKILL),
    ],
)
def test_a_copy_that_ends_badly_tells_how_and_the_next_one_answers(code: str, status: int) -> None:
    bad, good = ask(f"if request['do'] == 'bad': {code}", "bad", "good")
    assert bad["status"] == status
    assert good["status"] == 0
    assert len(bad["output"]) <= 1 << 17
    assert not Path(f"/proc/{json.loads(good['output'].splitlines()[1])['pid']}").exists()
