"""Errors of ClickHouse as StoreError: its code, its message, and whether a limit of the reader stopped it. Pure."""

from __future__ import annotations

import re

from clickhouse_connect.driver.exceptions import Error as ClientError

from spotlightd.errors import StoreError

SLOW = frozenset({158, 159, 160, 191, 241, 290, 307, 396})
"""ClickHouse's codes for a statement that a limit stopped: rows to read, time, speed, set size, memory, several limits,
bytes, rows of the answer.
"""

TAIL_BYTES = 16_384
_LATE = re.compile(rb"__exception__\r?\n\w{4,64}\r?\n(.*)", re.DOTALL)
_LOST = "Network Error"
_MARK = re.compile(r"\s*\d+ \w{4,64}\s*(?:__exception__\s*)?$")
_CODE = re.compile(r"Code: (\d+)\. DB::Exception: (.*)", re.DOTALL)


def to_store_error(problem: ClientError, where: str) -> StoreError:
    """The client's error as StoreError: ClickHouse's message without the address and the version around it."""
    text = str(problem)
    if text.startswith(_LOST):
        return StoreError(f"the warehouse at {where} does not answer: {text.removeprefix(_LOST).strip(' :')}")
    match = _CODE.search(text)
    code = problem.code or (int(match[1]) if match else 0)
    return StoreError(match[2].strip() if match else text, code=code, slow=code in SLOW)


def explain_broken_stream(tail: bytes, problem: BaseException) -> StoreError:
    """The error of a stream that broke off, explained by the message at its end, if there is one."""
    message = _LATE.search(tail)
    match = _CODE.search(message[1].decode("utf-8", errors="replace")) if message else None
    if match is None:
        return StoreError(f"the answer broke off: the connection to the warehouse was lost ({describe_error(problem)})")
    code = int(match[1])
    return StoreError(f"the answer broke off: {_MARK.sub('', match[2]).strip()}", code=code, slow=code in SLOW)


def describe_error(problem: BaseException) -> str:
    return str(problem) or type(problem).__name__
