"""The token of readers, and pages without secrets, on an application of one page."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

import aiohttp
import pytest
from aiohttp import web

from spotlightd import log
from spotlightd.runtime.preflight import is_loopback
from spotlightd.secret import HIDDEN
from spotlightd.web import middleware
from spotlightd.web.access import is_authorized, require_token
from spotlightd.web.app import serve

TOKEN = "c0ffeec0ffee17c0ffee"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    "header", [f"Bearer {TOKEN}", f"bearer {TOKEN}", basic("", TOKEN), basic("anybody", TOKEN)]
)  # fmt: skip
def test_the_token_is_taken_as_bearer_and_as_password(header: str) -> None:
    assert is_authorized(header, TOKEN)


@pytest.mark.parametrize(
    "header",
    [
        "", TOKEN, "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Digest {TOKEN}", "Basic", "Basic !!!",
        basic(TOKEN, ""), basic(TOKEN, "x"), "Basic " + base64.b64encode(b"\xff\xfe").decode(), "Bearer \udcff",
    ],
)  # fmt: skip
def test_nothing_else_is_taken(header: str) -> None:
    assert not is_authorized(header, TOKEN)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("[::1]", True), ("localhost", True),
     (str(IPv4Address(0)), False), ("::", False), ("", False), ("192.168.1.7", False), ("explorer.example", False)],
)  # fmt: skip
def test_only_loopback_is_for_this_machine_alone(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@asynccontextmanager
async def served(text: str, token: str = "") -> AsyncIterator[str]:
    async def show(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type="text/html")

    app = web.Application(middlewares=[middleware.log_requests, middleware.redact_pages])
    for path in ("/", "/healthz", "/metrics"):
        app.router.add_get(path, show)
    require_token(app, token)
    async with serve(app, "127.0.0.1", 0) as port:
        yield f"http://127.0.0.1:{port}"


async def test_without_the_token_nothing_but_the_sign_of_life_is_answered() -> None:
    async with served("page", TOKEN) as address, aiohttp.ClientSession() as session:
        for path, status in (("/", 401), ("/metrics", 401), ("/healthz", 200), ("/nope", 401)):
            async with session.get(address + path) as answer:
                assert (answer.status, "WWW-Authenticate" in answer.headers) == (status, status == 401)
        async with session.get(address, headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
            assert (answer.status, await answer.text()) == (200, "page")


async def test_no_page_shows_a_secret_that_the_process_knows() -> None:
    log.add_secret(TOKEN)
    async with (
        served(f"<p>the venue said: bad token {TOKEN} ü</p>") as address,
        aiohttp.ClientSession() as session,
        session.get(address) as answer,
    ):
        assert await answer.text() == f"<p>the venue said: bad token {HIDDEN} ü</p>"
