"""The demo as a newcomer sees it: it goes through all stages of its publisher by itself, and shows no gap by accident."""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import re
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp

STAGES_SECONDS = 300.0
PUBLICATIONS = 5
COMPUTED = ("bars", "swap_days", "swap_underliers", "swap_live")
STAGED_CAUSES = {"connection lost"}  # the venue of the demo hangs up on purpose
LONGEST_GAP_MICROSECONDS = 60_000_000


@contextmanager
def ledger(state: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(f"file:{state / 'ledger.sqlite'}?mode=ro", uri=True)
    try:
        yield connection
    finally:
        connection.close()


def published(state: Path, source: str) -> int:
    """How many publications of that source the demo's ledger has; 0 while there is no ledger yet."""
    sql = "SELECT count(*) FROM loads WHERE source = ? AND seq > 0"
    try:
        with ledger(state) as connection:
            return int(connection.execute(sql, (source,)).fetchone()[0])
    except sqlite3.OperationalError:
        return 0


async def broken_links(session: aiohttp.ClientSession, address: str) -> dict[str, int]:
    """The links of the first page that do not answer with 200, and their status."""
    async with session.get(f"{address}/") as answer:
        links = sorted({html.unescape(link) for link in re.findall(r'href="(/[^"#]*)"', await answer.text())})
    assert any(link.startswith("/data/bars") for link in links)
    statuses = {}
    for link in links:
        async with session.get(address + link) as answer:
            statuses[link] = answer.status
    return {link: status for link, status in statuses.items() if status != HTTPStatus.OK}


def gaps(state: Path) -> list[tuple[str, int]]:
    """Cause and length in microseconds."""
    with ledger(state) as connection:
        return connection.execute("SELECT cause, until - since FROM gaps").fetchall()


def drained_days(state: Path) -> int:
    with ledger(state) as connection:
        return len(connection.execute("SELECT DISTINCT covers FROM loads WHERE source = 'finnhub'").fetchall())


async def test_the_demo_shows_all_stages_and_no_gap_that_its_staging_causes(tmp_path: Path, free_port: int) -> None:
    state = tmp_path / "state"
    command = (sys.executable, "-m", "spotlightd", "demo", "--state", str(state), "--port", str(free_port))
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(STAGES_SECONDS):
            while (  # noqa: ASYNC110  (it is in a file)
                published(state, "sec_ftd") < PUBLICATIONS
                or drained_days(state) < 2
                or not all(published(state, name) for name in COMPUTED)
            ):
                await asyncio.sleep(0.2)
        endpoint: dict[str, Any] = json.loads((state / "daemon.json").read_text())
        assert endpoint["web"].endswith(str(free_port))
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{endpoint['web']}/live") as answer:
                page = await answer.text()
            assert await broken_links(session, endpoint["web"]) == {}
            async with session.get(f"{endpoint['web']}/swaps") as answer:
                swaps = await answer.text()
            async with session.get(f"{endpoint['web']}/s/GME") as answer:
                assert "an ISIN that contains the CUSIP 36467W109" in await answer.text()
        assert "one correction of 2021-01b" in page
        assert "closes the connection every 45 seconds on purpose" in page
        assert "crash" not in page
        assert "trades that no message has ended" in swaps
        assert all(cause in STAGED_CAUSES and span < LONGEST_GAP_MICROSECONDS for cause, span in gaps(state))
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await process.wait() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
