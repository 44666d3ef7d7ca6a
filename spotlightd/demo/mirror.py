"""A mirror of publishers on loopback. It serves bundled files under the publisher's own paths, in stages.

The daemon requests documents from it with the same code as from the publisher; only the setting `publisher.mirrors`
differs. A stage is the state of the publisher's site at one time. So the demo can replay that a file is replaced under
its name.
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
    """What the publisher shows at one time: the path of its index page, and its files by path."""

    title: str
    index: str
    files: Mapping[str, Path]


@dataclass(slots=True)
class Mirror:
    """A mirror at `address`. `show` turns to another stage."""

    host: str
    stages: tuple[Stage, ...]
    address: str = ""
    stage: int = 0
    requests: list[str] = field(default_factory=list)

    def show(self, stage: int) -> Stage:
        """Serve this stage from now on."""
        self.stage = stage
        return self.stages[stage]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        stage = self.stages[self.stage]
        self.requests.append(request.path)
        if request.path == stage.index:
            return web.Response(text=_render_index(stage), content_type="text/html")
        if request.path not in stage.files:
            return web.Response(status=404, text="<html><title>Not found</title></html>", content_type="text/html")
        body = stage.files[request.path].read_bytes()
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        logger().debug("mirror answered", path=request.path, bytes=len(body))
        return web.Response(body=body, headers={"ETag": etag}, content_type="application/zip")


def _render_index(stage: Stage) -> str:
    links = "\n".join(
        f'<li><a href="{html.escape(path)}">{html.escape(path.rsplit("/", 1)[-1])}</a></li>' for path in stage.files
    )
    return f"<!doctype html><title>Fails-to-Deliver Data</title><h1>Fails-to-Deliver Data</h1><ul>\n{links}\n</ul>"


def load_timeline() -> tuple[str, tuple[Stage, ...]]:
    """The publisher's host and the bundled stages, from data/timeline.json."""
    data = Path(str(resources.files("spotlightd.demo"))) / "data"
    timeline = json.loads((data / "timeline.json").read_text(encoding="utf-8"))
    stages = tuple(
        Stage(stage["title"], timeline["index"], {path: data / name for path, name in stage["files"].items()})
        for stage in timeline["stages"]
    )
    return timeline["host"], stages


@asynccontextmanager
async def run_mirror(host: str, stages: tuple[Stage, ...]) -> AsyncIterator[Mirror]:
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
