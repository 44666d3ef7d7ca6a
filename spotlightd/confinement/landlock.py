"""Landlock: this process may change and read the paths that it needs, and nothing else, for good.

It needs no privilege. Only the calling thread is confined, and what it starts; so a process confines itself before it
has threads, or before it becomes another program. Sockets and files that are open already keep working.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from dataclasses import dataclass
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
_TRUNCATE_ABI, _NET_ABI, _SCOPE_ABI = 3, 4, 6

_SYSTEM = (
    "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib", "/usr/share/zoneinfo", "/etc/ld.so.cache", "/etc/localtime",
    "/dev/urandom", "/dev/random", "/dev/zero", "/sys/devices/system/cpu", "/sys/fs/cgroup", "/proc/cpuinfo",
    "/proc/meminfo", "/proc/stat", "/proc/sys/vm/overcommit_memory", "/proc/sys/kernel",
)  # fmt: skip
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")
_PACKAGE = str(Path(__file__).resolve().parents[1])


@dataclass(frozen=True, slots=True)
class Reach:
    """All that a process may reach: folders that it changes, paths that it reads, programs that it runs, TCP ports that
    it connects to.
    """

    writable: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    executable: tuple[Path, ...] = ()
    ports: tuple[int, ...] = ()


def list_program_paths() -> tuple[Path, ...]:
    """What a Python process needs to read: system libraries, the interpreter, the installed packages, this one.

    Of Python's search path only folders of packages count: an entry may be a folder of work, which holds anything.
    """
    trees = {sys.prefix, sys.base_prefix, sys.exec_prefix, str(Path(sys.executable).resolve().parent), _PACKAGE}
    trees |= {entry for entry in sys.path if entry.rpartition("/")[2] in _PACKAGE_FOLDERS}
    return tuple(Path(path) for path in (*_SYSTEM, *sorted(trees)))


def restrict_process(reach: Reach) -> str:
    """Confine this thread and all that it starts. Returns "Landlock ABI n", or "no Landlock" with the reason."""
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
    for paths, wanted in (
        (reach.writable, rights & ~_EXECUTE), (reach.readable, _READ | _LIST), (reach.executable, _EXECUTE | _READ | _LIST),
    ):  # fmt: skip
        for path in paths:
            _allow_path(libc, rules, path, wanted & rights)
    for port in reach.ports if abi >= _NET_ABI else ():
        libc.syscall(_ADD, rules, _PORT, struct.pack("=QQ", _CONNECT, port), ctypes.c_uint32(0))
    threads = sum(1 for _ in Path("/proc/self/task").iterdir())
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(_RESTRICT, rules, ctypes.c_uint32(0)):
        return f"no Landlock: {os.strerror(ctypes.get_errno())}"
    os.close(rules)
    return _describe(abi, reach, threads)


def _describe(abi: int, reach: Reach, threads: int) -> str:
    if threads > 1:
        return f"no Landlock for threads that ran before it (ABI {abi})"
    if reach.writable and abi < _TRUNCATE_ABI:
        return f"Landlock ABI {abi}, no limit on cutting files: it needs ABI {_TRUNCATE_ABI}"
    if reach.ports and abi < _NET_ABI:
        return f"Landlock ABI {abi}, no limit on TCP ports: they need ABI {_NET_ABI}"
    return f"Landlock ABI {abi}"


def _allow_path(libc: ctypes.CDLL, rules: int, path: Path, rights: int) -> None:
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
