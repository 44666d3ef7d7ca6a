"""Limits that a child process sets for itself before it reads anything: memory, files, network; it ends with its parent."""

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


def confine_process(parent: int, limits: Mapping[int, int]) -> int:
    """Set the limits (`resource.RLIMIT_…`) and return the file descriptor for answers. All other output is discarded.

    Afterwards the process can write no file, and it dies with its parent.
    """
    LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit("the parent process has ended already")
    out = os.dup(1)
    os.dup2(2, 1)
    fcntl.fcntl(out, _F_SETPIPE_SZ, PIPE_BYTES)
    fixed = {resource.RLIMIT_NOFILE: OPEN_FILES, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0}
    for kind, limit in (fixed | dict(limits)).items():
        resource.setrlimit(kind, (limit, limit))
    return out


def deny_network() -> bool:
    """Forbid new sockets in this thread and the threads it starts. False where the system cannot do that."""
    number = _SOCKET.get(platform.machine())
    if number is None:
        return False
    steps = [(_LOAD, 0, 0, 0), (_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(program)))
    return not (LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or LIBC.prctl(_PR_SET_SECCOMP, _FILTER, header, 0, 0))


class _PandasBlocker(MetaPathFinder):
    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        del path, target
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is blocked in this process", name="pandas")


def block_pandas() -> None:
    """Make every later `import pandas` of this process fail: pyarrow would import it, and it costs memory and time."""
    sys.meta_path.insert(0, _PandasBlocker())
