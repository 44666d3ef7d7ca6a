"""Landlock: the engine's process may write its own folders and read its own program, and nothing else.

A process confines itself and then becomes the engine by exec, because threads that already exist are not confined.
This needs no privilege. Where the kernel has no Landlock, the status page shows the reason.
"""

from __future__ import annotations

import ctypes
import mimetypes
import os
import struct
import sys
import sysconfig
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # system call numbers, the same on every architecture
_VERSION_FLAG, _PATH_BENEATH, _PORT, _NO_NEW_PRIVS = 1, 1, 2, 38
_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _DEVICE = 1 << 14, 1 << 15
_FILE_RIGHTS = _EXECUTE | _WRITE | _READ | _TRUNCATE | _DEVICE
_RIGHTS_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ALL_RIGHTS = (1 << 16) - 1
_TCP = 0b11  # bind and connect
_CONNECT = 0b10
_SCOPES = 0b11  # abstract sockets and signals of others
_NET_ABI, _SCOPE_ABI = 4, 6

_SYSTEM = (
    "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib", "/usr/share/zoneinfo", "/etc/ld.so.cache", "/etc/localtime",
    "/dev/urandom", "/dev/random", "/dev/zero", "/sys/devices/system/cpu", "/sys/fs/cgroup", "/proc/cpuinfo",
    "/proc/meminfo", "/proc/stat", "/proc/sys/vm/overcommit_memory", "/proc/sys/kernel",
)  # fmt: skip


NAMES_AND_CERTIFICATES = (
    "/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/ssl", "/etc/pki",
    "/usr/share/ca-certificates",
)  # fmt: skip
"""Files needed to connect to a host by its name and to verify its certificate."""


def list_program_paths() -> list[Path]:
    """What the Python process needs to read: system libraries, the interpreter, the installed packages, this one."""
    trees = {sys.prefix, sys.base_prefix, sys.exec_prefix, str(Path(sys.executable).resolve().parent)}
    trees |= {
        path for name, path in sysconfig.get_paths().items() if name in {"stdlib", "platstdlib", "purelib", "platlib"}
    }
    trees |= {entry for entry in sys.path if entry}
    package = find_spec("spotlightd")
    if package is not None and package.origin:
        trees.add(str(Path(package.origin).parent))
    return [Path(path) for path in (*_SYSTEM, *mimetypes.knownfiles, *sorted(trees))]


def confine(writable: Iterable[Path], readable: Iterable[Path], ports: Iterable[int] = ()) -> str:
    """Confine this process permanently. Returns "Landlock ABI n", or the reason why it is not confined.

    `writable` folders may be changed, `readable` paths only read and executed. TCP sockets can be neither bound nor
    connected, except to `ports`. Sockets that are already open keep working.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    abi = libc.syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))
    if abi < 1:
        return f"no Landlock: {os.strerror(ctypes.get_errno())}"
    rights = _RIGHTS_BY_ABI.get(abi, _ALL_RIGHTS)
    attributes = struct.pack("=Q", rights)
    if abi >= _NET_ABI:
        attributes += struct.pack("=Q", _TCP)
    if abi >= _SCOPE_ABI:
        attributes += struct.pack("=Q", _SCOPES)
    rules = libc.syscall(_CREATE, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    if rules < 0:
        return f"no Landlock: {os.strerror(ctypes.get_errno())}"
    allowed = [(path, rights) for path in writable] + [(path, _EXECUTE | _READ | _LIST) for path in readable]
    allowed += [(Path(f"/proc/{os.getpid()}"), rights), (Path("/dev/null"), rights)]
    for path, wanted in allowed:
        _allow(libc, rules, path, wanted & rights)
    for port in ports if abi >= _NET_ABI else ():
        libc.syscall(_ADD, rules, _PORT, struct.pack("=QQ", _CONNECT, port), ctypes.c_uint32(0))
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(_RESTRICT, rules, ctypes.c_uint32(0)):
        return f"no Landlock: {os.strerror(ctypes.get_errno())}"
    os.close(rules)
    return f"Landlock ABI {abi}"


def _allow(libc: ctypes.CDLL, rules: int, path: Path, rights: int) -> None:
    """Allow a path; one that does not exist needs no rule."""
    try:
        file = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        wanted = rights if path.is_dir() else rights & _FILE_RIGHTS
        libc.syscall(_ADD, rules, _PATH_BENEATH, struct.pack("=Qi", wanted, file), ctypes.c_uint32(0))
    finally:
        os.close(file)
