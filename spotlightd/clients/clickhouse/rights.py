"""What a user of a ClickHouse server must not be able to do, tried with that user's own password.

Every statement is harmless if it runs after all: it changes no row, and what it makes is named `TRIAL`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import aiohttp

from spotlightd.errors import StoreError

TRIAL = "spotlightd_trial"
READER_MUST_NOT = (
    "INSERT INTO {database}.loads SELECT * FROM {database}.loads WHERE 0",
    f"CREATE TABLE IF NOT EXISTS {{database}}.{TRIAL} (x Int8) ENGINE = Null",
    "ALTER TABLE {database}.loads DELETE WHERE 0",
)
NOBODY_MUST = (
    f"CREATE DATABASE IF NOT EXISTS {TRIAL}",
    "SELECT * FROM file('/etc/passwd', 'LineAsString') LIMIT 0",
    "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'x Int8') LIMIT 0",
    "SELECT * FROM remote('127.0.0.1:1', 'system', 'one') LIMIT 0",
    "SELECT name FROM system.users LIMIT 0",
    "SYSTEM RELOAD USERS",
)
DENIED = frozenset({164, 497})  # read only, not enough privileges
NO_LOGIN = frozenset({192, 193, 194, 516})
SECONDS = 10.0
_CODE = re.compile(r"Code: (\d+)\.")


async def find_excess_rights(url: str, user: str, password: str, database: str, *, writes: bool) -> list[str]:
    """The statements that the user may run and must not. StoreError when the server does not answer, or refuses the login."""
    statements = [*NOBODY_MUST, *(() if writes else READER_MUST_NOT)]
    texts = [statement.format(database=database) for statement in statements]
    async for text, code in _run(url, user, password, texts):
        if code in NO_LOGIN:
            raise StoreError(f"the server at {url} does not take the password of its user {user}", code=code)
        if code in DENIED:
            texts.remove(text)
    return texts


async def accepts_nobody(url: str) -> bool:
    """Whether the server refuses the user `default` without a password."""
    return all([code in NO_LOGIN async for _, code in _run(url, "default", "", ["SELECT 1"])])


async def _run(url: str, user: str, password: str, texts: list[str]) -> AsyncIterator[tuple[str, int]]:
    """Each statement with the code of its error; 0 when there was none."""
    login = {"X-ClickHouse-User": user, "X-ClickHouse-Key": password}
    try:
        async with aiohttp.ClientSession(headers=login, timeout=aiohttp.ClientTimeout(total=SECONDS)) as session:
            for text in tuple(texts):
                async with session.post(url, data=text.encode()) as response:
                    found = _CODE.search(await response.text(errors="replace"))
                if not (found or response.ok):
                    raise StoreError(
                        f"the server at {url} answers with status {response.status} and no error of ClickHouse's"
                    )
                yield text, int(found[1]) if found else 0
    except (aiohttp.ClientError, TimeoutError) as error:
        raise StoreError(f"the server at {url} does not answer: {type(error).__name__}") from None
