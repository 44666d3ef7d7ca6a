"""A mirror of publishers on loopback: it serves bundled files at the publishers' own addresses, in their own manner.

The daemon requests documents from it with the same code as from the publishers; only the setting `publisher.mirrors`
differs. `publisher.py` says how a publisher is added. All publishers turn to their next stage together; one that has no
later stage stays as it is.
"""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

from aiohttp import web

from spotlightd.demo import publishers as built_in
from spotlightd.demo.publisher import Answer, Publisher, Request, html_answer
from spotlightd.log import logger

HOST = "127.0.0.1"
MOST_REQUESTS = 10_000
NOT_FOUND = html_answer("<html><title>Not found</title></html>", HTTPStatus.NOT_FOUND)


@dataclass(slots=True)
class Mirror:
    """A mirror at `address`. `show` turns to another stage. `requests` are the newest ones, as method and target."""

    publishers: tuple[Publisher, ...]
    address: str = ""
    stage: int = 0
    requests: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_REQUESTS))

    @property
    def mirrors(self) -> dict[str, str]:
        """The setting `publisher.mirrors`: the address of each host here."""
        hosts = {host for publisher in self.publishers for host in publisher.hosts}
        return {host: f"{self.address}/{host}" for host in sorted(hosts)}

    @property
    def stages(self) -> int:
        return max(len(publisher.stages) for publisher in self.publishers)

    def show(self, stage: int) -> None:
        """Serve this stage from now on."""
        self.stage = stage

    def find_changed(self, stage: int) -> tuple[Publisher, ...]:
        """The publishers whose site is another one at this stage than before it; at the first, all."""
        return tuple(publisher for publisher in self.publishers if stage < len(publisher.stages))

    async def serve(self, request: web.Request) -> web.Response:
        """Answer a request whose path begins with the publisher's host."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = Request(request.method, request.raw_path.lstrip("/"), headers, await request.read())
        self.requests.append(f"{asked.method} {asked.target}")
        answer = self.answer(asked)
        logger().debug("mirror answered", path=asked.target, bytes=len(answer.body))
        return _to_response(answer, asked)

    def answer(self, request: Request) -> Answer:
        """The first answer of a publisher of that host; 404 when none knows the address."""
        for publisher in self.publishers:
            if request.host in publisher.hosts:
                stage = publisher.stages[min(self.stage, len(publisher.stages) - 1)]
                if found := publisher.answer(request, stage):
                    return found
        return NOT_FOUND


def _to_response(answer: Answer, request: Request) -> web.Response:
    headers = {"Content-Type": answer.type, **answer.headers}
    if answer.status == HTTPStatus.OK:
        etag = f'"{hashlib.sha256(answer.body).hexdigest()[:16]}"'
        headers["ETag"] = etag
        if request.headers.get("if-none-match") == etag:
            return web.Response(status=HTTPStatus.NOT_MODIFIED, headers={"ETag": etag})
    return web.Response(body=answer.body, status=answer.status, headers=headers)


def load_publishers() -> tuple[Publisher, ...]:
    """The publisher of each module in `publishers/`."""
    names = sorted(module.name for module in pkgutil.iter_modules(built_in.__path__))
    return tuple(importlib.import_module(f"{built_in.__name__}.{name}").PUBLISHER for name in names)


@asynccontextmanager
async def run_mirror(publishers: Sequence[Publisher], *, port: int = 0) -> AsyncIterator[Mirror]:
    """A mirror of the publishers on a port of loopback (0 = a free one) while the block runs."""
    mirror = Mirror(tuple(publishers))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", mirror.serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, port)
        await site.start()
        mirror.address = f"http://{HOST}:{runner.addresses[0][1]}"
        yield mirror
    finally:
        await runner.cleanup()
