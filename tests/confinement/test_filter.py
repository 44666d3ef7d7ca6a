"""The program that refuses system calls, as the kernel would run it, for both architectures."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from spotlightd.confinement import confine, landlock, seccomp, syscalls
from spotlightd.confinement.seccomp import Step
from spotlightd.confinement.syscalls import ARCHITECTURES, FIRST_UNKNOWN, NUMBERS

ALLOWED, REFUSED, MISSING = 0x7FFF0000, 0x50001, 0x50000 | 38
HEADERS = {
    "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"),
    "aarch64": ("/usr/include/asm-generic/unistd.h",),
}
READ_ONLY = 0


def run(steps: Sequence[Step], machine: str, number: int, arguments: tuple[int, ...] = ()) -> int:
    """What the kernel would decide about a call of that machine."""
    data = {0: number, 4: ARCHITECTURES[machine]}
    for index, value in enumerate((*arguments, *[0] * 6)[:6]):
        data |= {16 + 8 * index: value & 0xFFFFFFFF, 20 + 8 * index: value >> 32}
    accumulator = at = 0
    while True:
        code, when_true, when_false, value = steps[at]
        if code == 0x06:
            return value
        if code == 0x20:
            accumulator = data[value]
            at += 1
            continue
        is_true = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
        at += 1 + (when_true if is_true else when_false)


def assemble(monkeypatch: pytest.MonkeyPatch, machine: str, confine_process: object) -> Sequence[Step]:
    """The program that a confinement would hand to the kernel of that machine."""
    programs: list[Sequence[Step]] = []
    for name in ("set_limits", "hide_memory", "drop_capabilities"):
        monkeypatch.setattr(confine, name, lambda *_: None)
    monkeypatch.setattr(confine, "restrict_process", lambda _: "Landlock ABI 6")

    def assemble_only(refused: Iterable[str], conditions: Mapping[str, Sequence[Step]]) -> str:
        programs.append(seccomp.assemble_program(machine, refused, conditions))
        return "seccomp"

    monkeypatch.setattr(confine, "refuse_calls", assemble_only)
    assert callable(confine_process)
    confine_process()
    return programs[0]


@pytest.fixture(params=list(ARCHITECTURES))
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch, machine: str) -> Sequence[Step]:
    return assemble(monkeypatch, machine, lambda: confine.confine_reader([], {}))


def number(machine: str, name: str) -> int:
    return NUMBERS[name][list(ARCHITECTURES).index(machine)]


CALLS = (
    ("openat", (0, 0, READ_ONLY), ALLOWED), ("openat", (0, 0, os.O_WRONLY), REFUSED), ("openat", (0, 0, os.O_RDWR), REFUSED),
    ("openat", (0, 0, os.O_CREAT), REFUSED), ("openat", (0, 0, os.O_TRUNC | 1 << 40), REFUSED), ("openat2", (), MISSING),
    ("open", (0, os.O_CREAT), REFUSED), ("open", (0, READ_ONLY), ALLOWED),
    ("clone", (0x3D0F00,), ALLOWED), ("clone", (17,), REFUSED), ("clone3", (), MISSING), ("fork", (), REFUSED),
    ("kill", (os.getpid(),), ALLOWED), ("kill", (1,), REFUSED), ("kill", (0,), REFUSED), ("kill", ((1 << 64) - 1,), REFUSED),
    ("tgkill", (os.getpid(), 1), ALLOWED), ("tgkill", (os.getppid(), 1), REFUSED), ("tkill", (os.getpid(),), REFUSED),
    ("prlimit64", (0, 7, 0), ALLOWED), ("prlimit64", (os.getpid(), 7, 0), ALLOWED), ("prlimit64", (1, 7, 0), REFUSED), ("prlimit64", (0, 7, 1), REFUSED), ("prlimit64", (0, 7, 1 << 32), REFUSED),
    ("prctl", (15,), ALLOWED), ("prctl", (1,), REFUSED), ("prctl", (4, 1), REFUSED),
    ("fcntl", (0, 3), ALLOWED), ("fcntl", (0, 1030), ALLOWED), ("fcntl", (0, 8), REFUSED), ("fcntl", (0, 1024), REFUSED),
    ("ioctl", (0, 0x5401), ALLOWED), ("ioctl", (0, 0x8901), REFUSED), ("ioctl", (0, 0x40086602), REFUSED),
    ("flock", (0, 2), REFUSED), ("sync", (), REFUSED), ("syncfs", (), REFUSED), ("fsync", (), REFUSED), ("seccomp", (), ALLOWED),
    ("socket", (2,), REFUSED), ("execve", (), REFUSED), ("fchmod", (), REFUSED), ("io_uring_setup", (), REFUSED),
)  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "decision"), CALLS)
def test_a_reader_is_refused_what_it_does_not_need(
    reader: Sequence[Step], machine: str, name: str, arguments: tuple[int, ...], decision: int
) -> None:
    if (call := number(machine, name)) >= 0:
        assert run(reader, machine, call, arguments) == decision


def test_after_its_threads_have_started_a_reader_starts_no_other(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    program = assemble(monkeypatch, machine, lambda: confine.refuse_threads("Landlock ABI 6, seccomp"))
    decisions = [run(program, machine, number(machine, name), (0x3D0F00,)) for name in ("clone", "seccomp", "openat")]
    assert decisions == [REFUSED, REFUSED, ALLOWED]


def test_a_limit_on_threads_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confine, "refuse_calls", lambda *_: "no seccomp: Invalid argument")
    text = confine.refuse_threads("Landlock ABI 6, seccomp")
    assert text == "Landlock ABI 6, seccomp, no limit on threads: Invalid argument"
    assert not confine.is_whole(text)


def test_numbers_that_are_not_known_and_calls_of_other_architectures_are_refused(
    reader: Sequence[Step], machine: str
) -> None:
    other = next(name for name in ARCHITECTURES if name != machine)
    assert run(reader, machine, FIRST_UNKNOWN) == MISSING
    assert run(reader, machine, 0x40000000 | 1) == MISSING  # x32
    assert run(reader, machine, number(machine, "ioctl") + 1_000) == MISSING
    assert run(reader, other, 0) == REFUSED


def test_a_server_listens_on_its_socket_only_and_connects_only_with_a_bucket(
    monkeypatch: pytest.MonkeyPatch, machine: str
) -> None:
    alone = assemble(monkeypatch, machine, lambda: confine.confine_server(5, is_connecting=False))
    with_bucket = assemble(monkeypatch, machine, lambda: confine.confine_server(5, is_connecting=True))
    expected = {"listen": (ALLOWED, ALLOWED), "socket": (REFUSED, ALLOWED), "connect": (REFUSED, ALLOWED)}
    for name, decisions in expected.items():
        arguments = (5,) if name == "listen" else (2,)
        found = tuple(run(program, machine, number(machine, name), arguments) for program in (alone, with_bucket))
        assert (name, found) == (name, decisions)
    assert run(with_bucket, machine, number(machine, "listen"), (6,)) == REFUSED
    assert run(with_bucket, machine, number(machine, "socket"), (1,)) == REFUSED  # a socket file, such as Docker's
    assert run(with_bucket, machine, number(machine, "bind")) == REFUSED
    assert run(with_bucket, machine, number(machine, "unlinkat")) == ALLOWED  # Landlock decides about files


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_the_numbers_are_those_of_the_kernel(machine: str) -> None:
    header = next((Path(path) for path in HEADERS[machine] if Path(path).exists()), None)
    if header is None:
        pytest.skip("the kernel's headers are not installed")
    pattern = re.compile(r"#define\s+__NR(?:3264)?_(\w+)\s+(\d+)\s*$", re.MULTILINE)
    kernel = {name: int(value) for name, value in pattern.findall(header.read_text())}
    ours = {name: number(machine, name) for name in NUMBERS}
    assert {name: value for name, value in ours.items() if value >= 0} == {
        name: kernel[name] for name, value in ours.items() if value >= 0
    }
    missing = {name for name, value in ours.items() if value < 0}
    assert missing.isdisjoint(kernel) or machine == "aarch64"  # the generic header lists what aarch64 leaves out


def test_every_group_names_known_calls() -> None:
    groups = (
        syscalls.PROCESSES,
        syscalls.KERNEL,
        syscalls.ATTRIBUTES,
        syscalls.FILES,
        syscalls.LOCKS,
        syscalls.NETWORK,
    )
    assert {name for group in groups for name in group} <= NUMBERS.keys()


def test_a_system_without_landlock_or_seccomp_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "_CREATE", 9999)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "x", "6", "1", "riscv64")))
    without_landlock = landlock.restrict_process(landlock.Reach())
    without_seccomp = seccomp.refuse_calls((), {})
    assert without_landlock == "no Landlock: Function not implemented"
    assert without_seccomp == "no seccomp: the system calls of this machine (riscv64) are not known"
    assert Path("/etc/passwd").read_text()


@pytest.mark.parametrize(
    ("abi", "threads", "missing"),
    [(7, 1, ""), (6, 1, ""), (3, 1, "TCP ports"), (2, 1, "cutting files"), (7, 2, "threads that ran before")],
)
def test_an_older_landlock_says_what_it_lacks(abi: int, threads: int, missing: str) -> None:
    reach = landlock.Reach(writable=(Path("/x"),), ports=(443,))
    text = landlock._describe(abi, reach, threads)
    assert missing in text
    assert confine.is_whole(text) is not bool(missing)
    assert landlock._describe(2, landlock.Reach(readable=(Path("/x"),)), 1) == "Landlock ABI 2"


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("Landlock ABI 6, seccomp", True), ("", False), ("no Landlock: Function not implemented, seccomp", False),
        ("Landlock ABI 6, no seccomp: Invalid argument", False), ("Landlock ABI 1, no limit on TCP ports: they need ABI 4, seccomp", False),
    ],
)  # fmt: skip
def test_a_confinement_is_whole_when_nothing_is_missing(text: str, whole: bool) -> None:
    assert confine.is_whole(text) is whole
