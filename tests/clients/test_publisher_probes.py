"""Documents whose addresses are computed, that are requested by POST, or need a token. All documents here are constructed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from spotlightd.clients.http.publisher import HttpPublisher
from spotlightd.errors import PublisherError
from spotlightd.model.source import Pages
from tests.clients.publisher_server import ScriptedPublisher, document, redirect, reply
from tests.clients.publisher_world import HOME, HOST, PATH, URL, ZIP, PublisherWorld

TOKEN = f"{HOME}/getToken"
OTHER = "files.publisher.invalid"


async def authorize(pages: Pages) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {(await pages.page(TOKEN, post='')).strip()}"}


async def fetch(publisher: HttpPublisher, url: str = URL, **how: Any) -> bytes:
    async with publisher.fetch(url, **how) as fetched:
        assert fetched is not None
        return b"".join([chunk async for chunk in fetched.chunks])


async def refusal(publisher: HttpPublisher, **how: Any) -> PublisherError:
    with pytest.raises(PublisherError) as caught:
        await fetch(publisher, **how)
    return caught.value


async def test_a_post_sends_its_json_and_not_the_fragment(world: PublisherWorld) -> None:
    world.server.script(PATH, document(ZIP))
    assert await fetch(await world.publisher(), f"{URL}#2026-11-27", post='{"limit": 5000}') == ZIP
    (request,) = world.server.requests
    assert (request.method, request.path, request.content) == ("POST", PATH, b'{"limit": 5000}')
    assert request.headers["content-type"] == "application/json"


async def test_a_post_is_not_redirected(world: PublisherWorld) -> None:
    world.server.script(PATH, redirect(f"{HOME}/other.zip", 307))
    assert "was redirected, which no POST is" in str(await refusal(await world.publisher(), post="{}"))
    assert len(world.server.requests) == 1


async def test_a_token_is_fetched_once_and_renewed_when_it_is_refused(world: PublisherWorld) -> None:
    """The first token serves two documents, then it expires; a new one is requested, once."""
    world.server.script("/getToken", reply(content=b"first\n"), reply(content=b"second\n"))
    world.server.script(PATH, document(ZIP), document(ZIP), reply(401), document(ZIP))
    publisher = await world.publisher({"authorize": authorize})
    for _ in range(3):
        assert await fetch(publisher) == ZIP
    sent = [(request.method, request.path, request.headers.get("authorization")) for request in world.server.requests]
    assert sent == [
        ("POST", "/getToken", None), ("GET", PATH, "Bearer first"), ("GET", PATH, "Bearer first"),
        ("GET", PATH, "Bearer first"), ("POST", "/getToken", None), ("GET", PATH, "Bearer second"),
    ]  # fmt: skip


async def test_a_new_token_that_is_refused_is_a_failure(world: PublisherWorld) -> None:
    world.server.script("/getToken", reply(content=b"first\n"))
    world.server.script(PATH, reply(401))
    problem = await refusal(await world.publisher({"authorize": authorize}))
    assert (problem.outcome, problem.status) == ("failed", 401)
    assert len(world.server.requests) == 2


async def test_a_token_that_would_break_the_header_is_not_sent(world: PublisherWorld) -> None:
    world.server.script("/getToken", reply(content=b"a\r\nX-Injected: yes"))
    assert "not printable ASCII" in str(await refusal(await world.publisher({"authorize": authorize})))
    assert [request.path for request in world.server.requests] == ["/getToken"]


async def test_a_token_stays_at_its_host(world: PublisherWorld) -> None:
    async with ScriptedPublisher() as other:
        world.server.script("/getToken", reply(content=b"first\n"))
        world.server.script(PATH, redirect(f"https://{OTHER}/moved.zip"))
        other.script("/moved.zip", document(ZIP))
        mirrors = {HOST: world.server.url, OTHER: other.url}
        publisher = await world.publisher({"authorize": authorize, "hosts": (HOST, OTHER)}, mirrors=mirrors)
        assert await fetch(publisher) == ZIP
        assert "authorization" in world.server.requests[-1].headers
        assert "authorization" not in other.requests[0].headers


FORBIDDEN = {"forbidden_is_absent": True}


async def test_403_to_a_probe_is_absent_when_head_is_refused_too(world: PublisherWorld) -> None:
    world.server.script(PATH, reply(403))
    problem = await refusal(await world.publisher(FORBIDDEN), is_probe=True)
    assert problem.outcome == "absent"
    assert [request.method for request in world.server.requests] == ["GET", "HEAD"]


@pytest.mark.parametrize("storage", ["DEEP_ARCHIVE", "GLACIER"])
async def test_403_to_a_probe_is_archived_when_head_finds_the_object(world: PublisherWorld, storage: str) -> None:
    world.server.script(PATH, reply(403), reply(200, x_amz_storage_class=storage))
    problem = await refusal(await world.publisher(FORBIDDEN), is_probe=True)
    assert problem.outcome == "archived"
    assert f"moved it to an archive ({storage})" in str(problem)


@pytest.mark.parametrize("head", [reply(200), reply(200, x_amz_storage_class="STANDARD")])
async def test_403_to_a_probe_whose_object_is_served_is_a_failure(world: PublisherWorld, head: Any) -> None:
    """A client that was too fast, for example: HEAD finds the object, and it is in no archive."""
    world.server.script(PATH, reply(403), head)
    assert (await refusal(await world.publisher(FORBIDDEN), is_probe=True)).outcome == "failed"


async def test_403_to_a_probe_is_a_failure_while_head_fails(world: PublisherWorld) -> None:
    world.server.script(PATH, reply(403), reply(503))
    problem = await refusal(await world.publisher(FORBIDDEN, attempts=1), is_probe=True)
    assert (problem.outcome, problem.status) == ("failed", 503)


@pytest.mark.parametrize(("source", "how"), [({}, {"is_probe": True}), (FORBIDDEN, {})])
async def test_403_is_a_failure_of_other_documents(
    world: PublisherWorld, source: dict[str, Any], how: dict[str, Any]
) -> None:
    world.server.script(PATH, reply(403))
    assert (await refusal(await world.publisher(source), **how)).outcome == "failed"
    assert [request.method for request in world.server.requests] == ["GET"]


@pytest.mark.parametrize(
    ("is_probe", "page_is_absent", "content", "outcome"),
    [
        (True, True, b"<!DOCTYPE html><title>Site</title>", "absent"),
        (True, False, b"<!DOCTYPE html><title>Site</title>", "wrong body"),
        (False, True, b"<!DOCTYPE html><title>Site</title>", "wrong body"),
        (True, True, b"something else", "wrong body"),
        (True, True, b"", "wrong body"),
    ],
)
async def test_a_page_with_status_200_is_absent_where_the_source_says_so(
    world: PublisherWorld, is_probe: bool, page_is_absent: bool, content: bytes, outcome: str
) -> None:
    world.server.script(PATH, reply(content=content))
    publisher = await world.publisher({"page_is_absent": page_is_absent})
    assert (await refusal(publisher, is_probe=is_probe)).outcome == outcome
