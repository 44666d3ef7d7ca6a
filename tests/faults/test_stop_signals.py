"""A cancellation still takes effect while our own stores fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any, cast

import pytest

from spotlightd.errors import StoreError
from spotlightd.flows.loads.context import IngestContext
from spotlightd.flows.loads.load import load_document
from spotlightd.model.provenance import Document, Load
from spotlightd.model.source import Link
from spotlightd.sources.sec_ftd import source


class FullLedger:
    """A ledger that can be read but no longer written."""

    async def loads(self, *_: object, **__: object) -> tuple[Load, ...]:
        return ()

    async def related_groups(self, *_: object) -> tuple[tuple[Load, ...], ...]:
        return ((),)

    async def begin_group(self, *_: object) -> tuple[Load, ...]:
        return (Load(1, source.name, "0" * 64, "1", "2021/01/a", "loading", ("sec_ftd",)),)

    async def mark_group_dead(self, *_: object) -> tuple[Load, ...]:
        raise StoreError("database or disk is full")


class EndlessParser:
    """A parser that never ends. `started` is set when it starts."""

    def __init__(self) -> None:
        self.started = asyncio.Event()

    @asynccontextmanager
    async def file(self, _: str) -> AsyncIterator[Path]:
        yield Path("/dev/null")

    @asynccontextmanager
    async def parse_group(self, *_: object, **__: object) -> AsyncIterator[None]:
        self.started.set()
        await asyncio.Event().wait()
        yield


async def test_a_load_that_is_cancelled_on_a_full_disk_ends_cancelled() -> None:
    parser = EndlessParser()
    context = IngestContext(*cast("Any", (parser, FullLedger(), None, parser, None)))
    link = Link("https://www.sec.gov/cnsfails202101a.zip", "2021/01/a", date(2021, 1, 1), date(2021, 1, 14))
    document = cast("Document", type("Constructed", (), {"digest": "0" * 64, "name": "cnsfails202101a.zip"}))
    loading = asyncio.create_task(load_document(source, context, link, document))
    await parser.started.wait()
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
