"""The confinement of a process that reads foreign bytes: one for the children that only read, one for the engine.

It holds against code that somebody managed to run inside: Landlock decides about files, seccomp about all else. Both are
in force until the process ends. The text that is returned goes to `/status`; a part of it that begins with "no" tells
what this system cannot do, and why.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from spotlightd.confinement import syscalls
from spotlightd.confinement.landlock import Reach, list_program_paths, restrict_process
from spotlightd.confinement.process import drop_capabilities, hide_memory, leave_threads, set_limits
from spotlightd.confinement.seccomp import (
    MISSING,
    Step,
    allow_bits,
    allow_null,
    allow_values,
    refuse_bits,
    refuse_calls,
    require_values,
)

OPEN_FILES = 64
_CLONE_THREAD = 0x10000
_PR_SET_NAME, _PR_GET_NAME, _PR_SET_NO_NEW_PRIVS, _PR_SET_VMA = 15, 16, 38, 0x53564D41
_DUPLICATE = (0, 1030)  # F_DUPFD, F_DUPFD_CLOEXEC
_FILE_FLAGS = (1, 2, 3, 4)  # F_GETFD, F_SETFD, F_GETFL, F_SETFL
_RECORD_LOCKS = (5, 6, 7, 36, 37, 38)  # F_GETLK, F_SETLK, F_SETLKW, and the same of an open file
_PIPE_SIZES = (1031, 1032)  # F_SETPIPE_SZ, F_GETPIPE_SZ
_TERMINALS = (0x5401, 0x5413)  # TCGETS, TIOCGWINSZ: Python asks whether a file that it opens is a terminal
_CLOSE_FLAGS = (0x5450, 0x5451)  # FIONCLEX, FIOCLEX
_WAITING = (0x541B, 0x5421)  # FIONREAD, FIONBIO
_AF_INET, _AF_INET6 = 2, 10
_DATES = ("utime", "utimes", "utimensat")  # the engine dates its parts; when that is refused, it keeps none of the rows
_CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def confine_reader(readable: Iterable[Path], limits: Mapping[str, tuple[int, int]]) -> str:
    """Confine this process, which reads these paths and its own program. It changes no file and makes no socket.

    It must have one thread: others would keep their rights and lend them. pyarrow starts threads when it is imported, so
    libraries are loaded afterwards, and `refuse_threads` is called then. `limits` are soft and hard, named like `AS` in
    `resource.RLIMIT_AS`.
    """
    set_limits({"NOFILE": (OPEN_FILES, OPEN_FILES), "FSIZE": (0, 0), "NPROC": leave_threads(), **limits})
    hide_memory()
    drop_capabilities()
    paths = (*readable, Path("/dev/null"), *list_program_paths())
    landlock = restrict_process(Reach(readable=paths))
    refused = (
        *syscalls.PROCESSES, *syscalls.KERNEL, *syscalls.ATTRIBUTES, *syscalls.FILES, *syscalls.LOCKS, *syscalls.NETWORK,
    )  # fmt: skip
    files = {
        "open": refuse_bits(1, _CHANGES),
        "openat": refuse_bits(2, _CHANGES),
        "openat2": MISSING,
        "fcntl": allow_values(1, *_DUPLICATE, *_FILE_FLAGS),
        "ioctl": allow_values(1, *_TERMINALS, *_CLOSE_FLAGS),
    }
    return f"{landlock}, {refuse_calls(refused, _make_conditions() | files)}"


def refuse_threads(confinement: str) -> str:
    """Refuse to start threads from now on, for good; those that run go on. Returns the confinement, which was that text,
    with what is missing.

    Nothing else bounds the number of threads when the user is root, and those of a process without end leave none to the
    daemon.
    """
    outcome = refuse_calls(("clone", "seccomp"), {})
    reason = outcome.removeprefix("no seccomp: ")
    return confinement if outcome == reason else f"{confinement}, no limit on threads: {reason}"


def confine_server(socket_number: int, *, is_connecting: bool) -> str:
    """Refuse the system calls that the engine does not need. It has confined its files before it became this program.

    It accepts connections on the socket that it was given. With `is_connecting` it may make others: Landlock limits
    their ports.
    """
    set_limits({"NPROC": leave_threads()})
    hide_memory()
    drop_capabilities()
    attributes = [call for call in syscalls.ATTRIBUTES if call not in _DATES]
    refused = [*syscalls.PROCESSES, *syscalls.KERNEL, *attributes, "bind", "sync", "syncfs"]
    conditions = _make_conditions() | {
        "listen": allow_values(0, socket_number),
        "fcntl": allow_values(1, *_DUPLICATE, *_FILE_FLAGS, *_RECORD_LOCKS, *_PIPE_SIZES),
        "ioctl": allow_values(1, *_TERMINALS, *_CLOSE_FLAGS, *_WAITING),
    }
    if is_connecting:
        conditions["socket"] = allow_values(0, _AF_INET, _AF_INET6)
    else:
        refused += ["socket", "connect"]
    return refuse_calls(refused, conditions)


def is_whole(confinement: str) -> bool:
    """Whether nothing is missing from the confinement that this text describes."""
    return bool(confinement) and not any(part.startswith("no ") for part in confinement.split(", "))


def _make_conditions() -> dict[str, Sequence[Step]]:
    """Calls that every process needs in part: threads but no processes, signals to itself, limits to read."""
    itself = allow_values(0, os.getpid())
    return {
        "clone": allow_bits(0, _CLONE_THREAD),
        "clone3": MISSING,
        "kill": itself,
        "tgkill": itself,
        "rt_sigqueueinfo": itself,
        "rt_tgsigqueueinfo": itself,
        "prlimit64": (*require_values(0, 0, os.getpid()), *allow_null(2)),
        "sched_setaffinity": allow_values(0, 0),
        "prctl": allow_values(0, _PR_SET_NAME, _PR_GET_NAME, _PR_SET_NO_NEW_PRIVS, _PR_SET_VMA),
    }
