"""What a process sets for itself: limits, no capabilities, memory that other processes cannot open, its parent's life."""

from __future__ import annotations

import ctypes
import os
import resource
import struct
from collections.abc import Mapping

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _SIGKILL = 1, 4, 9
_CAPABILITY_VERSION = 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1 << 1, 1 << 2
_KEPT = _DAC_OVERRIDE | _DAC_READ_SEARCH
THREADS_LEFT = 128


def hide_memory() -> None:
    """Let no process of the same user open or trace the memory of this one, which holds secrets. Nor is it dumped.

    The system forgets this when the process becomes another program.
    """
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def tie_to_parent(parent: int) -> None:
    """Let the system kill this process when its parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit("the parent process has ended already")


def set_limits(limits: Mapping[str, tuple[int, int]]) -> None:
    """Set the soft and the hard limits, named like `AS` in `resource.RLIMIT_AS`. Hard ones cannot be raised again."""
    for name, limit in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), limit)


def leave_threads() -> tuple[int, int]:
    """The limit NPROC of a child, which leaves some of the user's threads and processes to its parent. The system counts all
    of a user, whichever process has them, so the last ones are for who has the higher limit. It does not count for root.
    """
    most, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    if most == resource.RLIM_INFINITY:
        return most, hard
    most -= min(THREADS_LEFT, most // 8)
    return most, most


def drop_capabilities() -> None:
    """Make root an ordinary user, for good, except for reaching files of others: a state folder may belong to another
    user than the one who runs a command. Which files those are is decided by Landlock.
    """
    libc = ctypes.CDLL(None)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION, 0))
    data = ctypes.create_string_buffer(24)  # two times: effective, permitted, inheritable
    libc.capget(header, data)
    held = struct.unpack("=6I", data.raw)
    kept = held[0] & held[1] & _KEPT
    wanted = (kept, kept, 0, 0, 0, 0)
    if held != wanted:
        libc.capset(header, ctypes.create_string_buffer(struct.pack("=6I", *wanted)))
