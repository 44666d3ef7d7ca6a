"""What code would try that somebody managed to run inside a child (constructed). Standard library and our table of numbers.

An attempt fails to be refused when it succeeds, and also when the kernel looked at its arguments and found them wrong: then
better arguments would have succeeded. Only EPERM, EACCES and ENOSYS are refusals.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import resource
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from spotlightd.confinement.syscalls import NUMBERS

REFUSALS = (errno.EPERM, errno.EACCES, errno.ENOSYS)
COLUMN = 0 if platform.machine() == "x86_64" else 1
LIBC = ctypes.CDLL(None, use_errno=True)
Attempt = Callable[[], object]


def call(name: str, *arguments: object) -> int:
    """A system call by its number. OSError as from any other call."""
    number = NUMBERS[name][COLUMN]
    if number < 0:
        raise PermissionError(errno.ENOSYS, "no such call here")
    result = LIBC.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(100)


def open_and_read(folder: str, name: str) -> bytes:
    handle = os.open(folder, os.O_PATH)
    return os.read(os.open(name, os.O_RDONLY, dir_fd=handle), 100)


def reads(place: dict[str, Any]) -> Iterator[tuple[str, Attempt]]:
    secret, state, parent = place["secret"], place["state"], place["parent"]
    for path in (secret, place["other"], f"/proc/self/root{secret}", "/etc/shadow", "/etc/passwd", "/proc/1/environ"):
        yield f"read {path.removeprefix(state)}", partial(read, path)
    for name in ("environ", "maps", "cmdline"):
        yield f"read the parent's {name}", partial(read, f"/proc/{parent}/{name}")
    yield "list the state folder", lambda: os.listdir(state)
    yield "list the root folder", lambda: os.listdir("/")
    yield "read below a folder that is only named", lambda: open_and_read(state, "secret")
    yield "list the parent's files", lambda: os.listdir(f"/proc/{parent}/fd")
    yield "open a file of the parent", lambda: os.open(f"/proc/{parent}/fd/0", os.O_RDONLY)
    yield "watch the state folder", lambda: call("inotify_init1", 0)
    yield "open by handle", lambda: call("open_by_handle_at", -1, None, 0)


def memory(place: dict[str, Any]) -> Iterator[tuple[str, Attempt]]:
    parent = place["parent"]
    vector = struct.pack("@PN", 1 << 20, 8)
    yield "open the parent's memory", lambda: os.open(f"/proc/{parent}/mem", os.O_RDWR)
    yield "read the parent's memory", lambda: call("process_vm_readv", parent, vector, 1, vector, 1, 0)
    yield "write the parent's memory", lambda: call("process_vm_writev", parent, vector, 1, vector, 1, 0)
    yield "trace the parent", lambda: call("ptrace", 0x4206, parent, 0, 0)
    yield "open the parent", lambda: call("pidfd_open", parent, 0)
    yield "take a file of the parent", lambda: call("pidfd_getfd", -1, 0, 0)
    yield "compare with the parent", lambda: call("kcmp", parent, os.getpid(), 1, 0, 0)
    yield "use the memory of others", lambda: call("shmget", 1, 1, 0)
    yield "watch page faults", lambda: call("userfaultfd", 1)
    yield "load a program into the kernel", lambda: call("bpf", 0, None, 0)
    yield "read keys", lambda: call("keyctl", 0, -3, 0, 0, 0)


def signals(place: dict[str, Any]) -> Iterator[tuple[str, Attempt]]:
    parent = place["parent"]
    yield "signal the parent", lambda: os.kill(parent, 0)
    yield "signal everybody", lambda: os.kill(-1, 0)
    yield "signal the parent's group", lambda: os.killpg(os.getpgid(parent), 0)
    yield "signal the parent's thread", lambda: call("tkill", parent, 0)
    yield "signal a thread of the parent", lambda: call("tgkill", parent, parent, 0)
    yield "queue a signal", lambda: call("rt_sigqueueinfo", parent, signal.SIGCONT, bytes(128))
    yield "signal an open process", lambda: call("pidfd_send_signal", -1, 0, None, 0)
    yield "own input for the parent", lambda: call("fcntl", 0, 8, parent)
    yield "choose that signal", lambda: call("fcntl", 0, 10, signal.SIGKILL)
    yield "own a socket for the parent", lambda: call("ioctl", 0, 0x8901, struct.pack("=i", parent))
    yield "move the parent to one core", lambda: os.sched_setaffinity(parent, os.sched_getaffinity(0))
    yield "slow the parent down", lambda: os.setpriority(os.PRIO_PROCESS, parent, 19)
    yield "ask for the parent's limits", lambda: resource.prlimit(parent, resource.RLIMIT_NPROC)
    yield "limit the parent", lambda: resource.prlimit(parent, resource.RLIMIT_CORE, (0, 0))


def connect(family: int, kind: int, address: Any) -> None:
    with socket.socket(family, kind) as connection:
        connection.connect(address)


def listen() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()


def resolve(name: str) -> object:
    try:
        return socket.getaddrinfo(name, 80)
    except socket.gaierror as problem:
        raise PermissionError(errno.EACCES, str(problem)) from None


def network(place: dict[str, Any]) -> Iterator[tuple[str, Attempt]]:
    address, unix = ("127.0.0.1", place["port"]), socket.AF_UNIX
    yield "connect", lambda: connect(socket.AF_INET, socket.SOCK_STREAM, address)
    yield "connect by datagram", lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, address)
    yield "connect to a socket file", lambda: connect(unix, socket.SOCK_STREAM, place["unix"])
    yield "connect to a socket without a file", lambda: connect(unix, socket.SOCK_STREAM, "\0" + place["abstract"])
    yield "listen", listen
    yield "resolve a name", lambda: resolve("localhost")
    yield "ask the kernel for routes", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    yield "read packets", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    yield "work without system calls", lambda: call("io_uring_setup", 1, bytes(120))


def fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def clone() -> None:
    if call("clone", signal.SIGCHLD, 0, 0, 0, 0) == 0:
        os._exit(0)


def start_threads(count: int) -> str:
    """A few of the many that would leave no thread to anybody else."""
    can_end = threading.Event()
    try:
        for _ in range(count):
            threading.Thread(target=can_end.wait, daemon=True).start()
    except RuntimeError as problem:
        raise PermissionError(errno.EPERM, str(problem)) from None
    finally:
        can_end.set()
    return f"{count} threads"


def processes(place: dict[str, Any]) -> Iterator[tuple[str, Attempt]]:
    yield "start threads", lambda: start_threads(64)
    yield "start a thread by number", lambda: call("clone", 0x10000, 0, 0, 0, 0)
    yield "have another filter of system calls", lambda: call("seccomp", 3, 0, None)
    yield "run a program", lambda: subprocess.run(["/bin/true"], check=True)
    yield "run a shell", lambda: subprocess.run("true", shell=True, check=True)
    yield "spawn a program", lambda: os.posix_spawn("/bin/true", ["true"], {})
    yield "become a program", lambda: os.execv("/nowhere", ["nowhere"])
    yield "become a program without a file", lambda: call("execveat", -1, b"nowhere", None, None, 0)
    yield "fork", fork
    yield "fork by number", clone
    yield "fork the new way", lambda: call("clone3", None, 0)
    yield "leave the session", os.setsid
    yield "leave the group", lambda: os.setpgid(0, place["group"])
    yield "make a name space", lambda: call("unshare", 0x10000000)
    yield "enter a name space", lambda: call("setns", -1, 0)
    yield "live on without the parent", lambda: prctl(1, 0)
    yield "open the own memory to others", lambda: prctl(4, 1)


def prctl(option: int, value: int) -> None:
    call("prctl", option, value, 0, 0, 0)


def chmod_open(path: str) -> None:
    call("fchmod", os.open(path, os.O_RDONLY), os.stat(path).st_mode & 0o777)


def change_open(change: Callable[..., object], path: str, *arguments: object) -> object:
    """Change an open file, which is open for reading."""
    return change(os.open(path, os.O_RDONLY), *arguments)


def files(place: dict[str, Any]) -> Iterator[tuple[str, Attempt]]:
    secret, state, document = place["secret"], place["state"], place["document"]
    flags = os.O_WRONLY | os.O_CREAT
    yield "write", lambda: os.open(secret, os.O_RDWR)
    yield "create", lambda: os.open(f"{state}/created", flags)
    yield "create elsewhere", lambda: os.open(f"{place['temporary']}/created", flags)
    yield "create without a name", lambda: os.open(state, os.O_TMPFILE | os.O_RDWR)
    yield "truncate", lambda: os.truncate(secret, 0)
    yield "rename", lambda: os.rename(secret, f"{state}/renamed")
    yield "link", lambda: os.link(place["other"], f"{state}/linked")
    yield "link by symbol", lambda: os.symlink(secret, f"{state}/symbol")
    yield "make a folder", lambda: os.mkdir(f"{state}/folder")
    yield "make a pipe", lambda: os.mkfifo(f"{state}/pipe")
    yield "chmod", lambda: os.chmod(secret, 0o666)
    yield "chmod the document", lambda: os.chmod(document, 0o666)
    yield "chmod an open file", lambda: chmod_open(place["program"])
    yield "chown", lambda: os.chown(secret, os.getuid(), os.getgid())
    yield "set times", lambda: os.utime(secret, (1, 1))
    yield "set an attribute", lambda: os.setxattr(secret, "user.x", b"x")
    yield "write the document", lambda: os.open(document, os.O_RDWR)
    yield "set a flag of the document", lambda: change_open(fcntl.ioctl, document, 0x40086602, struct.pack("=Q", 0x40))
    yield "set the document's generation", lambda: change_open(fcntl.ioctl, document, 0x40087602, struct.pack("=Q", 7))
    yield "seal the document", lambda: change_open(fcntl.ioctl, document, 0x40806685, bytes(128))
    yield "lock the document", lambda: change_open(fcntl.flock, document, fcntl.LOCK_EX | fcntl.LOCK_NB)
    yield "be told who opens the document", lambda: change_open(fcntl.fcntl, document, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    yield "be told who changes the program", lambda: change_open(fcntl.fcntl, place["packages"], fcntl.F_NOTIFY, 0)
    yield "write all disks", lambda: call("sync")
    yield "write a disk", lambda: call("syncfs", 0)
    yield "write the kernel's settings", lambda: os.open("/proc/sys/kernel/hostname", os.O_WRONLY)
    yield "unlink", lambda: os.unlink(place["other"])
    yield "remove a folder", lambda: os.rmdir(place["empty"])


def limits(_: dict[str, Any]) -> Iterator[tuple[str, Attempt]]:
    infinity = resource.RLIM_INFINITY
    for name in ("AS", "FSIZE", "CPU", "NOFILE", "CORE", "DATA", "NPROC"):
        kind, most = getattr(resource, f"RLIMIT_{name}"), infinity if name != "NOFILE" else 1 << 19
        yield f"raise the limit {name}", partial(resource.setrlimit, kind, (most, most))
    yield "raise a limit by number", lambda: call("setrlimit", resource.RLIMIT_CORE, struct.pack("=QQ", 0, 0))
    yield "name the host", lambda: socket.sethostname(socket.gethostname())
    yield "change the root folder", lambda: os.chroot("/")
    yield "keep the machine's memory", write_oom


def write_oom() -> None:
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("-1000")


KINDS = (reads, memory, signals, network, processes, limits, files)


def try_everything(place: dict[str, Any]) -> dict[str, str]:
    """The outcome of each attempt: the name of a refusal, or what happened instead."""
    outcomes = {name: try_once(attempt) for kind in KINDS for name, attempt in kind(place)}
    outcomes["read in a thread"] = try_in_thread(lambda: read(place["secret"]))
    return outcomes


def try_in_thread(attempt: Attempt) -> str:
    outcomes: list[str] = []
    thread = threading.Thread(target=lambda: outcomes.append(try_once(attempt)))
    try:
        thread.start()
    except RuntimeError:
        return "EPERM"
    thread.join()
    return outcomes[0]


def try_once(attempt: Attempt) -> str:
    try:
        result = attempt()
    except OSError as problem:
        if problem.errno in REFUSALS:
            return errno.errorcode[problem.errno]
        return f"not refused: {problem}"
    except ValueError as problem:  # Python's resource says so instead of EPERM
        return "EPERM" if "not allowed to raise" in str(problem) else f"not refused: {problem}"
    return f"not refused: {result!r}"[:200]
