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
from spotlightd.confinement.process import drop_capabilities, hide_memory, set_limits
from spotlightd.confinement.seccomp import (
    MISSING,
    Step,
    allow_bits,
    allow_null,
    allow_values,
    refuse_bits,
    refuse_calls,
    refuse_values,
)

OPEN_FILES = 64
_CLONE_THREAD = 0x10000
_PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA = 15, 16, 0x53564D41
_F_SETOWN, _F_SETSIG, _F_SETOWN_EX = 8, 10, 15
_FIOSETOWN, _SIOCSPGRP, _TIOCSTI, _TIOCLINUX = 0x8901, 0x8902, 0x5412, 0x541C
_AF_INET, _AF_INET6 = 2, 10
_DATES = ("utime", "utimes", "utimensat")  # the engine dates its parts; when that is refused, it keeps none of the rows
_CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def confine_reader(readable: Iterable[Path], limits: Mapping[str, tuple[int, int]]) -> str:
    """Confine this process, which reads these paths and its own program. It changes no file and makes no socket.

    It must have one thread: others would keep their rights and lend them. pyarrow starts threads when it is imported, so
    libraries are loaded afterwards. `limits` are soft and hard, named like `AS` in `resource.RLIMIT_AS`.
    """
    set_limits({"NOFILE": (OPEN_FILES, OPEN_FILES), "FSIZE": (0, 0), **limits})
    hide_memory()
    drop_capabilities()
    paths = (*readable, Path("/dev/null"), *list_program_paths())
    landlock = restrict_process(Reach(readable=paths))
    refused = (*syscalls.PROCESSES, *syscalls.KERNEL, *syscalls.ATTRIBUTES, *syscalls.FILES, *syscalls.NETWORK)
    written = {"open": refuse_bits(1, _CHANGES), "openat": refuse_bits(2, _CHANGES), "openat2": MISSING}
    return f"{landlock}, {refuse_calls(refused, _make_conditions() | written)}"


def confine_server(socket_number: int, *, is_connecting: bool) -> str:
    """Refuse the system calls that the engine does not need. It has confined its files before it became this program.

    It accepts connections on the socket that it was given. With `is_connecting` it may make others: Landlock limits
    their ports.
    """
    hide_memory()
    drop_capabilities()
    attributes = [call for call in syscalls.ATTRIBUTES if call not in _DATES]
    refused = [*syscalls.PROCESSES, *syscalls.KERNEL, *attributes, "bind"]
    conditions = _make_conditions() | {"listen": allow_values(0, socket_number)}
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
        "prlimit64": allow_null(2),
        "sched_setaffinity": allow_values(0, 0),
        "prctl": allow_values(0, _PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA),
        "fcntl": refuse_values(1, _F_SETOWN, _F_SETSIG, _F_SETOWN_EX),
        "ioctl": refuse_values(1, _FIOSETOWN, _SIOCSPGRP, _TIOCSTI, _TIOCLINUX),
    }
