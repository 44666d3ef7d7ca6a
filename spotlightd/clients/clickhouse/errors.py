"""What went wrong at ClickHouse, as our error: its number, its sentence, and whether a limit of the reader's stopped it. Pure."""

from __future__ import annotations

import re

from clickhouse_connect.driver.exceptions import Error as ClientError

from spotlightd.errors import StoreError

SLOW = frozenset({158, 159, 160, 191, 241, 290, 307, 396})
"""ClickHouse's codes for a statement stopped by a limit: rows to read, time, speed, set size, memory, several, bytes,
rows of the answer.
"""

TAIL_BYTES = 16_384
_LATE = re.compile(rb"__exception__\r?\n\w{4,64}\r?\n(.*)", re.DOTALL)
_LOST = "Network Error"
_MARK = re.compile(r"\s*\d+ \w{4,64}\s*(?:__exception__\s*)?$")
_CODE = re.compile(r"Code: (\d+)\. DB::Exception: (.*)", re.DOTALL)


def told(problem: ClientError, where: str) -> StoreError:
    """The client's error as ours: ClickHouse's sentence without the address and the version around it."""
    text = str(problem)
    if text.startswith(_LOST):
        return StoreError(f"the warehouse at {where} does not answer: {text.removeprefix(_LOST).strip(' :')}")
    found = _CODE.search(text)
    code = problem.code or (int(found[1]) if found else 0)
    return StoreError(found[2].strip() if found else text, code=code, slow=code in SLOW)


def late(tail: bytes, problem: BaseException) -> StoreError:
    """Why a stream broke off. The words in its tail only explain: that it broke off is told by the connection."""
    words = _LATE.search(tail)
    found = _CODE.search(words[1].decode("utf-8", errors="replace")) if words else None
    if found is None:
        return StoreError(f"the answer broke off: the connection to the warehouse was lost ({named(problem)})")
    code = int(found[1])
    return StoreError(f"the answer broke off: {_MARK.sub('', found[2]).strip()}", code=code, slow=code in SLOW)


def named(problem: BaseException) -> str:
    return str(problem) or type(problem).__name__
