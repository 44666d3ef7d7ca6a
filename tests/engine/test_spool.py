"""A long answer that is held back lies on the disk, has a limit, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from spotlightd.engine.answers.spool import Spool
from spotlightd.engine.errors import StatementError


async def test_the_answer_comes_back_as_it_was_and_no_file_is_left(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        for number in range(100):
            await spool.add(bytes([number]) * 10_000)
        assert list(tmp_path.iterdir()) == []  # a process that dies leaves nothing either
        for _ in range(2):
            assert b"".join([piece async for piece in spool.pieces()]) == b"".join(
                bytes([number]) * 10_000 for number in range(100)
            )
        assert spool.size == 1_000_000


async def test_an_answer_beyond_the_limit_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with Spool(tmp_path, most_bytes=10) as spool:
        await spool.add(b"x" * 10)
        with pytest.raises(StatementError, match="stream it") as raised:
            await spool.add(b"x")
        assert raised.value.code == 396
