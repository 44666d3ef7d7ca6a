"""The demo as a newcomer sees it: it goes through all stages of its publisher by itself, and ends when endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from pathlib import Path
from typing import Any

from spotlightd.clients.ledger.ledger import SqliteLedger

STAGES_SECONDS = 90.0
PUBLICATIONS = 4


async def _seqs(state: Path) -> list[int]:
    """Publications that the demo's ledger knows; none while there is no ledger yet."""
    if not (state / "ledger.sqlite").exists():
        return []
    async with SqliteLedger(state / "ledger.sqlite") as ledger:
        return [load.seq for load in await ledger.loads(states=("published",))]


async def test_the_demo_shows_the_correction_and_what_was_refused_at_first(tmp_path: Path, free_port: int) -> None:
    state = tmp_path / "state"
    words = ("demo", "--state", str(state), "--port", str(free_port))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "spotlightd", *words, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(STAGES_SECONDS):
            while len(await _seqs(state)) < PUBLICATIONS:  # noqa: ASYNC110  (it stands in a file)
                await asyncio.sleep(0.2)
        endpoint: dict[str, Any] = json.loads((state / "daemon.json").read_text())
        assert endpoint["web"].endswith(str(free_port))
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await process.wait() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
