"""What a child of ours takes from itself before it reads anything: memory, files, the network, life without its parent."""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Mapping
from importlib.abc import MetaPathFinder

LIBC = ctypes.CDLL(None)
PIPE_BYTES = 1 << 20
OPEN_FILES = 64
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_FILTER = 2
_F_SETPIPE_SZ = 1031
_SOCKET = {"x86_64": 41, "aarch64": 198}  # the number of that system call
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 13  # EACCES


def confined(parent: int, limits: Mapping[int, int]) -> int:
    """Set the limits (`resource.RLIMIT_…`); the descriptor that answers go to. What anything else prints goes nowhere.

    No file can be written, and the child dies with its parent.
    """
    LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit("the parent is gone already")
    out = os.dup(1)
    os.dup2(2, 1)
    fcntl.fcntl(out, _F_SETPIPE_SZ, PIPE_BYTES)
    fixed = {resource.RLIMIT_NOFILE: OPEN_FILES, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0}
    for which, most in (fixed | dict(limits)).items():
        resource.setrlimit(which, (most, most))
    return out


def without_network() -> bool:
    """From now on no socket can be made, in this thread and those that it starts; False where that cannot be had."""
    number = _SOCKET.get(platform.machine())
    if number is None:
        return False
    steps = [(_LOAD, 0, 0, 0), (_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    described = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(program)))
    return not (LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or LIBC.prctl(_PR_SET_SECCOMP, _FILTER, described, 0, 0))


class _WithoutPandas(MetaPathFinder):
    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        del path, target
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is left out on purpose", name="pandas")


def without_pandas() -> None:
    """For the whole process, from now on."""
    sys.meta_path.insert(0, _WithoutPandas())
