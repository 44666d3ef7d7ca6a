"""A parent with secrets, which runs one child of each kind with an attack in it, and prints the outcomes as JSON.

`python parent.py KIND FOLDER ordinary|same`. With `ordinary` it stops being root first. It keeps the right to read all
files, because the interpreter may lie in root's own folder; that makes the attack stronger, not weaker.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from spotlightd.confinement.answers import read_object
from spotlightd.confinement.process import hide_memory
from spotlightd.engine.configuration import Configuration
from spotlightd.settings.sources import ParserSettings, VerifierSettings
from spotlightd.workers import child_process
from spotlightd.workers.loader import find_source, load_sources
from spotlightd.workers.parser import ChildParser

ATTACK = Path(__file__).with_name("attack.py")
FUTURE = "from __future__ import annotations\n"
NOBODY = 65534
READ_ALL = 1 << 2


def become_ordinary() -> None:
    libc = ctypes.CDLL(None)
    libc.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    header, data = struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", *[READ_ALL] * 3, 0, 0, 0)
    assert libc.capset(header, data) == 0
    assert libc.prctl(47, 2, 2, 0, 0) == 0  # PR_CAP_AMBIENT_RAISE of CAP_DAC_READ_SEARCH


def make_place(folder: Path) -> dict[str, Any]:
    """A state folder, sockets that listen, and what else the attack wants to reach."""
    state = folder / "state"
    (state / "empty").mkdir(parents=True, mode=0o700)
    for name in ("secret", "other", "document"):
        (state / name).write_text("canary")
        (state / name).chmod(0o600)
    tcp, unix, abstract = socket.socket(), socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    tcp.bind(("127.0.0.1", 0))
    unix.bind(str(state / "socket"))
    abstract.bind(f"\0spotlightd-{os.getpid()}")
    for listening in (tcp, unix, abstract):
        listening.listen()
        os.set_inheritable(os.dup(listening.fileno()), False)  # it stays open
    return {
        "secret": str(state / "secret"), "other": str(state / "other"), "document": str(state / "document"),
        "state": str(state), "empty": str(state / "empty"), "temporary": str(folder), "parent": os.getpid(),
        "group": os.getpgid(0), "port": tcp.getsockname()[1], "unix": str(state / "socket"),
        "abstract": f"spotlightd-{os.getpid()}", "program": socket.__file__,
        "packages": str(Path(socket.__file__).parent),
    }  # fmt: skip


SOURCE = """from __future__ import annotations
{authors}
{attack}
def attack_parse(body):
    place = {place!r} | {{"document": str(body.path)}}
    outcomes = try_everything(place)
    outcomes["read the document"] = try_once(lambda: read(place["document"]))
    for number, (name, outcome) in enumerate(outcomes.items(), 1):
        yield Reject(0, number, name, outcome)
attacker = source("attacker", attack_parse)
"""

REPLACED = """from __future__ import annotations
import importlib, sys, types
{attack}
from spotlightd.workers.child_setup import answer_once
from spotlightd.workers.{starter} import main
def answer(request):
    importlib.import_module({module!r})
    return {{"outcomes": try_everything({place!r}) | {{"read the document": try_once(lambda: read({document!r}))}}}}
sys.argv = ["child", "attacker"]
sys.modules["attacker"] = types.ModuleType("attacker")
sys.modules["attacker"].run = answer_once(answer)
main()
"""


def write_source(folder: Path, place: dict[str, Any]) -> Path:
    path = folder / "attacker.py"
    authors = (ATTACK.parents[1] / "parse" / "authors.py").read_text().replace(FUTURE, "")
    path.write_text(SOURCE.format(authors=authors, attack=attack_code(), place=place))
    return path


def attack_code() -> str:
    return ATTACK.read_text().replace(FUTURE, "")


async def attack_in_parser(folder: Path, place: dict[str, Any]) -> tuple[str, dict[str, str]]:
    source_file = write_source(folder, place)
    source = find_source(load_sources(str(source_file)), str(source_file), "attacker")
    inbox = folder / "state" / "inbox"
    async with ChildParser(ParserSettings(), {"attacker": str(source_file)}, inbox=inbox) as parser:
        async with parser.parse(source, Path(place["document"]), "document", load_id=1) as session:
            await asyncio.gather(*(drain(session.columns(dataset.name)) for dataset in source.datasets))
            result = await session.result()
        return parser.confinement, {reject.text: reject.reason for reject in result.rejects}


async def drain(stream: AsyncIterator[bytes]) -> None:
    async for _ in stream:
        pass


async def attack_in_preview(folder: Path, place: dict[str, Any]) -> tuple[str, dict[str, str]]:
    request = {
        "place": str(write_source(folder, place)), "source": "attacker", "path": place["document"], "name": "document",
        "rows": 1_000,
    }  # fmt: skip
    confinement, answer = await child_process.read_document(
        "spotlightd.workers.preview_child", request, ParserSettings(), read_object
    )
    return confinement, {reject["text"]: reject["reason"] for reject in answer["rejects"]}


async def attack_in_replaced(
    module: str, limits: ParserSettings | VerifierSettings, place: dict[str, Any]
) -> tuple[str, dict[str, str]]:
    """In a child that answers one request: the child itself, with another function to answer."""
    code = write_replaced(module, place, starter="child_setup")
    real = asyncio.create_subprocess_exec

    async def start(program: str, *_: str, **options: Any) -> asyncio.subprocess.Process:
        return await real(program, "-I", "-c", code, **options)

    child_process.asyncio.create_subprocess_exec = start  # type: ignore[attr-defined]
    request = child_process.make_start([place["document"]], {"AS": (limits.memory_bytes * 4,) * 2})
    output = await child_process.run_child(module, request, seconds=60, most_bytes=1 << 20)
    return output.confinement, json.loads(output.answer)["outcomes"]


async def attack_in_copy(limits: VerifierSettings, place: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """In a copy of a child that is kept: the child itself, with another function to answer."""
    code = write_replaced("spotlightd.workers.verifying.verifier_child", place, starter="verifying.fork_server")
    request = child_process.make_start([place["document"]], {"AS": (limits.memory_bytes * 4,) * 2})
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-c", code), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env=dict(child_process.ENVIRONMENT), start_new_session=True,
    )  # fmt: skip
    lines, _ = await process.communicate(json.dumps(request).encode() + b"\n")
    answer = json.loads(lines)
    output = child_process.parse_output(answer["output"].encode(), answer["status"])
    return output.confinement, json.loads(output.answer)["outcomes"]


def write_replaced(module: str, place: dict[str, Any], *, starter: str) -> str:
    return REPLACED.format(
        attack=attack_code(), module=module, place=place, document=place["document"], starter=starter
    )


LAUNCH = """
import os
import spotlightd.engine.__main__ as engine
execve = os.execve
os.execve = lambda program, arguments, environment: execve(
    program, [program, "-P", "-c", {serve!r}, arguments[-1]], environment)
engine.main()
"""

SERVE = """from __future__ import annotations
{attack}
import json, sys, types
import spotlightd.engine
import spotlightd.engine.__main__ as engine
def serve(settings):
    print(json.dumps([settings.sandbox, try_everything({place!r})]), flush=True)
sys.modules["spotlightd.engine.child"] = spotlightd.engine.child = types.ModuleType("child")
spotlightd.engine.child.serve = serve
engine.main()
"""


async def attack_in_engine(folder: Path, place: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """The engine's process with other code instead of the engine, in the same confinement."""
    engine_folder = folder / "state" / "engine"
    engine_folder.mkdir(mode=0o700)
    listening = socket.create_server(("127.0.0.1", 0))
    settings = Configuration(
        folder=str(engine_folder), database="x", user="x", password="x", socket_number=listening.fileno(),
        parent_pid=os.getpid(), memory_bytes=1 << 30, query_memory_bytes=1 << 30, threads=1, readers=1, writers=1,
        download_slots=1, send_seconds=1, start_seconds=10,
    )  # fmt: skip
    serve = SERVE.format(attack=attack_code(), place=place)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", LAUNCH.format(serve=serve)),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, pass_fds=[listening.fileno()],
        env={"TZ": "UTC"}, start_new_session=True,
    )  # fmt: skip
    output, _ = await process.communicate(settings.to_json().encode() + b"\n")
    confinement, outcomes = json.loads(output.splitlines()[-1])
    return confinement, outcomes


async def attack_unconfined(place: dict[str, Any]) -> tuple[str, dict[str, str]]:
    code = f"import json\n{attack_code()}\nprint(json.dumps(try_everything({place!r})))"
    arguments = (sys.executable, "-c", FUTURE + code)
    process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE, start_new_session=True)
    output, _ = await process.communicate()
    return "", json.loads(output.splitlines()[-1])


async def main() -> None:
    kind, folder = sys.argv[1], Path(sys.argv[2])
    if sys.argv[3] == "ordinary":
        become_ordinary()
    place = make_place(folder)
    if kind != "unconfined":
        hide_memory()
    runs = {
        "parser": lambda: attack_in_parser(folder, place),
        "preview": lambda: attack_in_preview(folder, place),
        "excerpt": lambda: attack_in_replaced("spotlightd.workers.excerpt_child", ParserSettings(), place),
        "verifier": lambda: attack_in_copy(VerifierSettings(), place),
        "engine": lambda: attack_in_engine(folder, place),
        "unconfined": lambda: attack_unconfined(place),
    }
    confinement, outcomes = await runs[kind]()
    print(json.dumps({"confinement": confinement, "outcomes": outcomes}))


if __name__ == "__main__":
    asyncio.run(main())
