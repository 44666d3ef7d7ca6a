"""A mirror of publishers on loopback: it serves bundled files under the publisher's own paths, in stages.

The daemon asks it as it asks the publisher, through the same code; only the setting `publisher.mirrors` differs. A
stage is what the publisher showed at some time, so that replacing a file under the same name can be replayed.
"""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from aiohttp import web

from spotlightd.log import logger

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Stage:
    """What the publisher shows at one time: its index page's path, and its files by path."""

    says: str
    index: str
    files: Mapping[str, Path]


@dataclass(slots=True)
class Mirror:
    """A mirror that answers at `address`; `show` turns to another stage."""

    host: str
    stages: tuple[Stage, ...]
    address: str = ""
    stage: int = 0
    asked: list[str] = field(default_factory=list)

    def show(self, stage: int) -> Stage:
        """From now on the publisher shows this stage."""
        self.stage = stage
        return self.stages[stage]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        stage = self.stages[self.stage]
        self.asked.append(request.path)
        if request.path == stage.index:
            return web.Response(text=_page(stage), content_type="text/html")
        if request.path not in stage.files:
            return web.Response(status=404, text="<html><title>Not found</title></html>", content_type="text/html")
        body = stage.files[request.path].read_bytes()
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        logger().debug("mirror answered", path=request.path, bytes=len(body))
        return web.Response(body=body, headers={"ETag": etag}, content_type="application/zip")


def _page(stage: Stage) -> str:
    links = "\n".join(
        f'<li><a href="{html.escape(path)}">{html.escape(path.rsplit("/", 1)[-1])}</a></li>' for path in stage.files
    )
    return f"<!doctype html><title>Fails-to-Deliver Data</title><h1>Fails-to-Deliver Data</h1><ul>\n{links}\n</ul>"


def timeline() -> tuple[str, tuple[Stage, ...]]:
    """The publisher's host and the bundled stages, from data/timeline.json."""
    data = Path(str(resources.files("spotlightd.demo"))) / "data"
    told = json.loads((data / "timeline.json").read_text(encoding="utf-8"))
    stages = tuple(
        Stage(one["says"], told["index"], {path: data / name for path, name in one["files"].items()})
        for one in told["stages"]
    )
    return told["host"], stages


@asynccontextmanager
async def mirroring(host: str, stages: tuple[Stage, ...]) -> AsyncIterator[Mirror]:
    """A mirror of that host on a free port of loopback while the block runs."""
    mirror = Mirror(host, stages)
    app = web.Application()
    app.router.add_get("/{path:.*}", mirror.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, 0)
        await site.start()
        mirror.address = f"http://{HOST}:{runner.addresses[0][1]}"
        yield mirror
    finally:
        await runner.cleanup()
