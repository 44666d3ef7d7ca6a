"""Who we say we are, which addresses we ask, and where we let ourselves be sent. All documents here are constructed."""

from __future__ import annotations

import pytest

from spotlightd.errors import SettingsError
from tests.clients.publisher_server import document, redirect, reply
from tests.clients.publisher_world import HOME, HOST, PATH, URL, ZIP, PublisherWorld, fetch_all, get_refusal


async def test_a_request_names_its_sender_and_accepts_only_plain_bytes(world: PublisherWorld) -> None:
    world.server.script(PATH, reply(200, ZIP, Set_Cookie="seen=yes; Path=/"))
    publisher = await world.publisher()
    assert await fetch_all(publisher) + await fetch_all(publisher) == ZIP + ZIP
    for request in world.server.requests:
        assert request.headers["user-agent"] == "spotlightd/0.1.0 (desk@newsroom.invalid)"
        assert request.headers["accept-encoding"] == "identity"
        assert not {"cookie", "authorization", "referer", "if-none-match", "if-modified-since"} & set(request.headers)


async def test_no_cookie_is_kept_even_for_a_host_with_a_name(world: PublisherWorld) -> None:
    world.server.script(PATH, reply(200, ZIP, Set_Cookie="seen=yes; Path=/"))
    publisher = await world.publisher(mirrors={HOST: world.server.url.replace("127.0.0.1", "localhost")})
    assert await fetch_all(publisher) + await fetch_all(publisher) == ZIP + ZIP
    assert ["cookie" in request.headers for request in world.server.requests] == [False, False]


async def test_a_source_that_needs_a_contact_is_refused_without_one_by_the_name_of_the_setting(
    world: PublisherWorld,
) -> None:
    with pytest.raises(SettingsError) as caught:
        await world.publisher({"contact_required": True}, contact="", mirrors={})
    assert str(caught.value) == (
        f"source constructed: {HOST} requires a contact address, and answers 403 to requests without one; "
        'set contact = "you@example.org" in [publisher]'
    )


async def test_a_mirrored_host_needs_no_contact_and_gets_none(world: PublisherWorld) -> None:
    world.server.script(PATH, document(ZIP))
    assert await fetch_all(await world.publisher({"contact_required": True}, contact="")) == ZIP
    assert world.server.requests[0].headers["user-agent"] == "spotlightd/0.1.0"


async def test_a_contact_that_would_break_the_header_is_a_settings_error(world: PublisherWorld) -> None:
    for contact in ("a@b.invalid\r\nHost: c", "å@b.invalid"):
        with pytest.raises(SettingsError, match=r"^publisher\.contact must be plain ASCII on one line"):
            await world.publisher(contact=contact)


async def test_conditions_are_sent_as_they_were_received(world: PublisherWorld) -> None:
    world.server.script(PATH, reply(304))
    async with (await world.publisher()).fetch(
        URL, etag='W/"x"', last_modified="Tue, 02 Feb 2021 10:00:00 GMT"
    ) as fetched:
        assert fetched is None
    sent = world.server.requests[0].headers
    assert (sent["if-none-match"], sent["if-modified-since"]) == ('W/"x"', "Tue, 02 Feb 2021 10:00:00 GMT")


async def test_an_unrequested_not_modified_is_a_failure(world: PublisherWorld) -> None:
    world.server.script(PATH, reply(304))
    problem = await get_refusal(await world.publisher())
    assert str(problem) == f"{HOST} answered 304 Not Modified to {URL}"


async def test_marks_that_could_not_be_sent_back_are_not_kept(world: PublisherWorld) -> None:
    world.server.script(PATH, reply(200, ZIP, ETag='"é"', Last_Modified="x" * 2000))
    async with (await world.publisher()).fetch(URL) as fetched:
        assert fetched is not None
        assert (fetched.etag, fetched.last_modified) == ("", "")


async def test_a_mirror_gets_the_same_path_and_query_and_is_named_in_the_receipt(world: PublisherWorld) -> None:
    world.server.script("/kept/a%20b/fails.zip?half=a&x=%2F", document(ZIP))
    publisher = await world.publisher(mirrors={HOST: world.server.url + "/kept/"})
    url = HOME + "/a%20b/fails.zip?half=a&x=%2F"
    async with publisher.fetch(url + "#top") as fetched:
        assert fetched is not None
        assert fetched.url == url + "#top"
        assert fetched.via == world.server.url + "/kept/a%20b/fails.zip?half=a&x=%2F"


@pytest.mark.parametrize(
    "base", ["", "ftp://127.0.0.1", "127.0.0.1:80", "http://", "http://a.invalid/?x=1", "http://a:b"]
)
async def test_an_unusable_mirror_is_a_settings_error_that_shows_how_to_write_one(
    world: PublisherWorld, base: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        await world.publisher(mirrors={HOST: base})
    assert str(caught.value) == (
        f"publisher.mirrors: {base.replace('x=1', 'x=(hidden)')!r} cannot be the mirror of {HOST}; write host = address in [publisher.mirrors], "
        "such as \"www.sec.gov\" = 'http://127.0.0.1:8090'"
    )


async def test_a_redirect_inside_the_hosts_of_the_source_is_followed(world: PublisherWorld) -> None:
    world.server.script(PATH, redirect("/moved/fails.zip", 301))
    world.server.script("/moved/fails.zip", redirect(f"{HOME}/again.zip", 307))
    world.server.script("/again.zip", document(ZIP))
    async with (await world.publisher()).fetch(URL) as fetched:
        assert fetched is not None
        assert (fetched.url, fetched.via) == (URL, world.server.url + "/again.zip")


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("https://elsewhere.invalid/a.zip", f"https://elsewhere.invalid/a.zip is not at a host of the source ({HOST}): not requested"),
        ("//elsewhere.invalid/a.zip", f"https://elsewhere.invalid/a.zip is not at a host of the source ({HOST}): not requested"),
        (f"http://{HOST}/a.zip", f"http://{HOST}/a.zip is not https: not requested"),
        ("https://127.0.0.1/a.zip", f"https://127.0.0.1/a.zip is not at a host of the source ({HOST}): not requested"),
        ("https://169.254.169.254/latest", f"https://169.254.169.254/latest is not at a host of the source ({HOST}): not requested"),
        ("file:///etc/passwd", "file:///etc/passwd is not https: not requested"),
        (f"https://me:pw@{HOST}/a.zip", f"an address at {HOST} contains a user name or password: not requested"),
    ],
)  # fmt: skip
async def test_a_redirect_to_anywhere_else_is_not_followed(world: PublisherWorld, to: str, why: str) -> None:
    world.server.script(PATH, redirect(to))
    problem = await get_refusal(await world.publisher())
    assert str(problem) == f"{URL} was redirected: {why}"
    assert (problem.outcome, len(world.server.requests)) == ("failed", 1)


async def test_the_mirrors_own_address_is_not_a_place_to_be_redirected_to(world: PublisherWorld) -> None:
    world.server.script(PATH, redirect(world.server.url + "/a.zip"))
    assert str(await get_refusal(await world.publisher())).endswith("is not https: not requested")


async def test_a_redirect_loop_ends(world: PublisherWorld) -> None:
    world.server.script(PATH, redirect(PATH))
    problem = await get_refusal(await world.publisher())
    assert str(problem) == f"{URL} was redirected more than 5 times"
    assert len(world.server.requests) == 6
