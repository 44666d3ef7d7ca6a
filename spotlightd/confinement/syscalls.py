"""Numbers of the system calls that confined processes may not make, from the kernel's tables, and why they are in groups.

A call that one architecture does not have is -1 there. `FIRST_UNKNOWN` and all later numbers are refused as well, as if
the kernel did not have them, so that no call is allowed that was not considered here. Calls that need a capability, such
as `mount`, are not listed: a confined process has none of those capabilities.
"""

from __future__ import annotations

from typing import Final

ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""The machines whose numbers are known, with the kernel's marks of their calls."""

FIRST_UNKNOWN: Final = 451

NUMBERS: Final[dict[str, tuple[int, int]]] = {  # (x86_64, aarch64)
    "accept": (43, 202), "accept4": (288, 242), "add_key": (248, 217), "bind": (49, 200), "bpf": (321, 280),
    "chmod": (90, -1), "chown": (92, -1), "clone": (56, 220), "clone3": (435, 435), "connect": (42, 203),
    "creat": (85, -1), "execve": (59, 221), "execveat": (322, 281), "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263), "fchmod": (91, 52), "fchmodat": (268, 53), "fchown": (93, 55), "fchownat": (260, 54),
    "fcntl": (72, 25), "fdatasync": (75, 83), "flock": (73, 32), "fork": (57, -1), "fremovexattr": (199, 16),
    "fsetxattr": (190, 7), "fsync": (74, 82), "ftruncate": (77, 46), "futimesat": (261, -1),
    "inotify_add_watch": (254, 27), "inotify_init": (253, -1), "inotify_init1": (294, 26), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "io_uring_setup": (425, 425), "ioctl": (16, 29), "ioprio_set": (251, 30),
    "kcmp": (312, 272), "keyctl": (250, 219), "kill": (62, 129), "lchown": (94, -1), "link": (86, -1),
    "linkat": (265, 37), "listen": (50, 201), "lremovexattr": (198, 15), "lsetxattr": (189, 6),
    "migrate_pages": (256, 238), "mkdir": (83, -1), "mkdirat": (258, 34), "mknod": (133, -1), "mknodat": (259, 33),
    "move_pages": (279, 239), "mq_open": (240, 180), "mq_unlink": (241, 181), "msgctl": (71, 187), "msgget": (68, 186),
    "msgrcv": (70, 188), "msgsnd": (69, 189), "name_to_handle_at": (303, 264), "open": (2, -1),
    "open_by_handle_at": (304, 265), "openat": (257, 56), "openat2": (437, 437), "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "prctl": (157, 167),
    "prlimit64": (302, 261), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "ptrace": (101, 117), "recvmmsg": (299, 243),
    "recvmsg": (47, 212), "removexattr": (197, 14), "rename": (82, -1), "renameat": (264, 38), "renameat2": (316, 276),
    "request_key": (249, 218), "rmdir": (84, -1), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "sched_setaffinity": (203, 122), "sched_setattr": (314, 274), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119), "seccomp": (317, 277), "semctl": (66, 191), "semget": (64, 190),
    "semop": (65, 193), "semtimedop": (220, 192), "sendmmsg": (307, 269), "sendmsg": (46, 211), "sendto": (44, 206),
    "setns": (308, 268), "setpgid": (109, 154), "setpriority": (141, 140), "setrlimit": (160, 164),
    "setsid": (112, 157), "setxattr": (188, 5), "shmat": (30, 196), "shmctl": (31, 195), "shmget": (29, 194),
    "socket": (41, 198), "socketpair": (53, 199), "symlink": (88, -1), "symlinkat": (266, 36), "sync": (162, 81),
    "sync_file_range": (277, 84), "syncfs": (306, 267), "tgkill": (234, 131), "tkill": (200, 130), "truncate": (76, 45),
    "unlink": (87, -1), "unlinkat": (263, 35), "unshare": (272, 97), "userfaultfd": (323, 282), "utime": (132, -1),
    "utimensat": (280, 88), "utimes": (235, -1), "vfork": (58, -1),
}  # fmt: skip

PROCESSES: Final = (
    "fork", "vfork", "execve", "execveat", "setsid", "setpgid", "unshare", "setns", "ptrace", "process_vm_readv",
    "process_vm_writev", "process_madvise", "process_mrelease", "pidfd_open", "pidfd_getfd", "pidfd_send_signal", "kcmp",
    "tkill", "sched_setscheduler", "sched_setparam", "sched_setattr", "setpriority", "ioprio_set",
    "migrate_pages", "move_pages", "setrlimit",
)  # fmt: skip
"""Start a program or a process, leave the group that is killed whole, reach into another process, change a limit."""

KERNEL: Final = (
    "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl", "add_key",
    "request_key", "open_by_handle_at", "name_to_handle_at", "fanotify_init", "fanotify_mark", "inotify_init",
    "inotify_init1", "inotify_add_watch", "shmget", "shmat", "shmctl", "msgget", "msgsnd", "msgrcv", "msgctl", "semget",
    "semop", "semctl", "semtimedop", "mq_open", "mq_unlink",
)  # fmt: skip
"""Parts of the kernel that nothing in a child needs: keys, tracing, watching files, memory and queues that processes share,
and io_uring, whose work no filter of system calls sees.
"""

ATTRIBUTES: Final = (
    "chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "setxattr", "lsetxattr", "fsetxattr",
    "removexattr", "lremovexattr", "fremovexattr", "utime", "utimes", "utimensat", "futimesat",
)  # fmt: skip
"""Change the mode, owner, times or attributes of a file: Landlock does not cover them."""

FILES: Final = (
    "creat", "truncate", "ftruncate", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink",
    "unlinkat", "mkdir", "mkdirat", "rmdir", "mknod", "mknodat",
)  # fmt: skip
"""Change files and folders. Landlock covers them; a process that writes nothing needs none."""

LOCKS: Final = ("flock", "fsync", "fdatasync", "sync_file_range", "sync", "syncfs")
"""Lock a file that others wait for, and have disks written: a process that only reads does neither."""

NETWORK: Final = (
    "socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "sendto", "sendmsg", "sendmmsg", "recvmsg",
    "recvmmsg",
)  # fmt: skip
