"""Starts children that read foreign bytes, asks those that answer one request, and ends them with all that they started.

A child has its own session, so that ^C reaches only the daemon, and so its own process group. The group is killed whole.
Its environment holds nothing but the memory settings.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from spotlightd.confinement.answers import decode_json, read_fields, read_number, read_text
from spotlightd.confinement.confine import is_whole
from spotlightd.errors import FormatError, SettingsError, StoreError
from spotlightd.settings.sources import ParserSettings

T = TypeVar("T")
ENTRY = "from spotlightd.workers.child_setup import main; main()"
FORK_ENTRY = "from spotlightd.workers.verifying.fork_server import main; main()"
END_SECONDS = 10.0
PIECE_BYTES = 1 << 18
ANSWER_BYTES = 64 << 20
MOST_CHARACTERS = 4_000
NO_LIMITS: Mapping[str, tuple[int, int]] = {}
ENVIRONMENT = {
    "TZ": "UTC",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "ARROW_IO_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True)
class Output:
    """What a child printed: how it is confined, which it said before it saw foreign bytes, and its answer."""

    confinement: str
    answer: bytes
    status: int


async def start_child(
    module: str,
    *,
    entry: str = ENTRY,
    environment: Mapping[str, str] = ENVIRONMENT,
    limit: int = PIECE_BYTES,
) -> asyncio.subprocess.Process:
    """Start a child that confines itself and runs that module, with pipes for requests and answers. With FORK_ENTRY it stays,
    and a copy of it does so for each request. StoreError when that is not possible.
    """
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-c", entry, module),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=dict(environment),
            limit=limit,
            start_new_session=True,
        )
    except OSError as problem:
        raise StoreError(f"the child process {module} could not be started: {problem}") from None


def kill_group(process: asyncio.subprocess.Process) -> None:
    """Kill the child and whatever it started. Its number names its group until the last process of that has ended."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def make_start(readable: Iterable[str], rlimits: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """What the first line to a child must have: the paths that it may read, and soft and hard limits by name."""
    return {"parent": os.getpid(), "readable": list(readable), "rlimits": dict(rlimits)}


def limit_processor_time(seconds: int) -> dict[str, tuple[int, int]]:
    """The soft limit ends a process with a signal that tells why; equal limits would end it with SIGKILL."""
    return {"CPU": (seconds, seconds + 1)}


async def run_child(
    module: str,
    request: Mapping[str, Any],
    *,
    seconds: float,
    most_bytes: int,
    environment: Mapping[str, str] = ENVIRONMENT,
) -> Output:
    """Start a child for one request, with what `make_start` made. TimeoutError after so many seconds; ValueError for more
    output than that.
    """
    process = await start_child(module, environment=environment)
    try:
        async with asyncio.timeout(seconds):
            return await _communicate(process, json.dumps(request), most_bytes)
    finally:
        await end_child(process)


async def end_child(process: asyncio.subprocess.Process) -> None:
    """Kill the child and whatever it started, at once, and wait until it has ended."""
    kill_group(process)
    with suppress(TimeoutError):
        async with asyncio.timeout(END_SECONDS):
            await process.communicate()


async def _communicate(process: asyncio.subprocess.Process, request: str, most_bytes: int) -> Output:
    if process.stdin is None or process.stdout is None:
        raise StoreError("the child process has no pipes")
    with suppress(ConnectionError):  # a dead child is noticed by its exit status
        process.stdin.write(request.encode() + b"\n")
        await process.stdin.drain()
    process.stdin.close()
    output = bytearray()
    while piece := await process.stdout.read(PIECE_BYTES):
        output += piece
        if len(output) > most_bytes:
            raise ValueError("it is too long")
    return parse_output(bytes(output), await process.wait())


def parse_output(output: bytes, status: int) -> Output:
    """What a child printed until it ended with that status."""
    first, _, answer = output.partition(b"\n")
    return Output(read_confinement(first), answer, status)


def read_confinement(line: bytes) -> str:
    """How a child says that it is confined; empty when it says nothing of that kind."""
    with suppress(ValueError):
        (confinement,) = read_fields(decode_json(line), "confinement")
        return read_text(confinement, MOST_CHARACTERS)
    return ""


async def read_document(
    module: str,
    request: Mapping[str, Any],
    limits: ParserSettings,
    read_answer: Callable[[Any], T],
    more: Mapping[str, tuple[int, int]] = NO_LIMITS,
) -> tuple[str, T]:
    """Ask a child about the document at `path`, within the parser's limits and `more`. Returns how it is confined, and its
    answer as `read_answer` reads it, which raises ValueError for what is none. The source, if any, is at `place`.

    FormatError when the document cannot be read so, SettingsError when the source is wrong.
    """
    rlimits = {"AS": (limits.memory_bytes,) * 2, **limit_processor_time(limits.cpu_seconds), **more}
    readable = [str(request["path"]), *list_files([request.get("place", "")])]
    whole = {**request, "limits": asdict(limits)} | make_start(readable, rlimits)
    try:
        output = await run_child(module, whole, seconds=limits.wall_seconds, most_bytes=ANSWER_BYTES)
    except TimeoutError:
        raise FormatError(describe_timeout(limits)) from None
    except ValueError as problem:
        raise FormatError(f"the child process that read it sent no valid answer: {problem}") from None
    if output.status:
        raise FormatError(describe_exit(output.status, limits))
    try:
        answer = decode_json(output.answer)
        _raise_problem(answer, limits)
        return output.confinement, read_answer(answer)
    except ValueError as problem:
        raise FormatError(f"the child process that read it sent no valid answer: {problem}") from None


def list_files(places: Iterable[str]) -> list[str]:
    """The source files among the places of sources. The others are modules of this program."""
    return sorted({place for place in places if place.endswith(".py")})


def _raise_problem(answer: Any, limits: ParserSettings) -> None:
    """Raise the error that the child answers with, if it is one; see child_setup.answer_once."""
    names = answer.keys() if isinstance(answer, dict) else ()
    if "error" in names:
        message, member, line = read_fields(answer, "error", "member", "line")
        raise FormatError(read_text(message, MOST_CHARACTERS), member=read_number(member), line=read_number(line))
    if "setting" in names:
        (message,) = read_fields(answer, "setting")
        raise SettingsError(read_text(message, MOST_CHARACTERS))
    if "out_of_memory" in names:
        raise FormatError(describe_memory(limits))


def warn_unless_confined(child: str, confinement: str, earlier: str, log: Callable[..., Any]) -> str:
    """Log it when something is missing from the confinement, once until it changes. Returns the confinement."""
    if confinement != earlier and not is_whole(confinement):
        log("child not confined", child=child, confinement=confinement)
    return confinement


def describe_timeout(limits: ParserSettings) -> str:
    return f"reading it took more than {limits.wall_seconds:g} seconds (parser.wall_seconds)"


def describe_memory(limits: ParserSettings) -> str:
    return f"reading it takes more than {limits.memory_bytes >> 20:,} MiB of memory (parser.memory_bytes)"


def describe_exit(status: int, limits: ParserSettings) -> str:
    """Why the child ended: which limit, or which crash."""
    if status == -signal.SIGXCPU:
        return f"reading it takes more than {limits.cpu_seconds} seconds of processor time (parser.cpu_seconds)"
    if status in (-signal.SIGABRT, -signal.SIGSEGV):
        return f"{describe_memory(limits)}, or crashed the parser ({signal.Signals(-status).name})"
    how = signal.Signals(-status).name if status < 0 else f"status {status}"
    return f"the parser's child process ended while reading it ({how})"
