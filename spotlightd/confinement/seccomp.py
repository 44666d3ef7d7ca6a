"""seccomp: a program in the kernel that refuses system calls of this process, for good.

The program looks at the number of a call and at the values of its arguments. It cannot read memory, so calls whose
arguments lie there are answered as if the kernel did not have them; the C library then makes the older call, whose
arguments can be checked. A refused call fails with EPERM, and the process goes on.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterable, Mapping, Sequence

from spotlightd.confinement.syscalls import ARCHITECTURES, FIRST_UNKNOWN, NUMBERS

Step = tuple[int, int, int, int]
"""One instruction: code, steps to skip when true, steps to skip when false, value."""

_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_ALLOW: Step = (_RETURN, 0, 0, 0x7FFF0000)
_REFUSE: Step = (_RETURN, 0, 0, 0x00050000 | errno.EPERM)
_UNKNOWN: Step = (_RETURN, 0, 0, 0x00050000 | errno.ENOSYS)
_SET_FILTER, _ALL_THREADS, _KEEP_SPEED = 1, 1, 4
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 22, 38, 2

MISSING: tuple[Step, ...] = (_UNKNOWN,)
"""The call is answered as if the kernel did not have it."""


def allow_values(argument: int, *values: int) -> tuple[Step, ...]:
    """The call is allowed only when that argument has one of the values. Its upper half is ignored, as in the kernel."""
    choices = [step for value in values for step in ((_IF_EQUAL, 0, 1, value), _ALLOW)]
    return _load(argument), *choices, _REFUSE


def require_values(argument: int, *values: int) -> tuple[Step, ...]:
    """The call is refused when that argument has none of the values; otherwise the steps that follow decide."""
    choices = [(_IF_EQUAL, rest, 0, value) for rest, value in zip(range(len(values), 0, -1), values, strict=True)]
    return _load(argument), *choices, _REFUSE


def allow_bits(argument: int, bits: int) -> tuple[Step, ...]:
    """The call is allowed only when that argument has any of the bits."""
    return _load(argument), (_IF_ANY_BIT, 0, 1, bits), _ALLOW, _REFUSE


def refuse_bits(argument: int, bits: int) -> tuple[Step, ...]:
    """The call is refused when that argument has any of the bits."""
    return _load(argument), (_IF_ANY_BIT, 0, 1, bits), _REFUSE, _ALLOW


def allow_null(argument: int) -> tuple[Step, ...]:
    """The call is allowed only when that argument is a null pointer."""
    lower, upper = _load(argument), _load(argument, upper=True)
    return lower, (_IF_EQUAL, 0, 2, 0), upper, (_IF_EQUAL, 1, 0, 0), _REFUSE, _ALLOW


def _load(argument: int, *, upper: bool = False) -> Step:
    return _LOAD, 0, 0, _ARGUMENTS + 8 * argument + 4 * upper


def refuse_calls(refused: Iterable[str], conditions: Mapping[str, Sequence[Step]]) -> str:
    """Refuse these calls for good, in all threads. Returns "seccomp", or "no seccomp" with the reason.

    `conditions` decide about calls that are allowed in part.
    """
    machine = os.uname().machine
    if machine not in ARCHITECTURES or sys.maxsize < 1 << 32 or sys.byteorder != "little":
        return f"no seccomp: the system calls of this machine ({machine}) are not known"
    steps = assemble_program(machine, refused, conditions)
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(program)))
    libc = ctypes.CDLL(None, use_errno=True)
    number = NUMBERS["seccomp"][list(ARCHITECTURES).index(machine)]
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 and (
        libc.syscall(number, _SET_FILTER, _ALL_THREADS | _KEEP_SPEED, header) == 0
        or libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, header, 0, 0) == 0  # where a filter outside refuses the newer call
    ):
        return "seccomp"
    return f"no seccomp: {os.strerror(ctypes.get_errno())}"


def assemble_program(machine: str, refused: Iterable[str], conditions: Mapping[str, Sequence[Step]]) -> Sequence[Step]:
    """The instructions. A call of another architecture, such as 32-bit x86, is refused whatever its number is."""
    column = list(ARCHITECTURES).index(machine)
    steps: list[Step] = [
        (_LOAD, 0, 0, _ARCHITECTURE), (_IF_EQUAL, 1, 0, ARCHITECTURES[machine]), _REFUSE,
        (_LOAD, 0, 0, _NUMBER), (_IF_AT_LEAST, 0, 1, FIRST_UNKNOWN), _UNKNOWN,
    ]  # fmt: skip
    for name, decision in {**dict.fromkeys(refused, (_REFUSE,)), **conditions}.items():
        number = NUMBERS[name][column]
        if number >= 0:
            steps += [(_IF_EQUAL, 0, len(decision), number), *decision]
    return (*steps, _ALLOW)
