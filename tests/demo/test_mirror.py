"""The demo's mirror: every publisher at its own address, in its own manner, and in stages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from spotlightd.demo.mirror import Mirror, load_publishers, run_mirror
from spotlightd.demo.publisher import DATA, Answer, Publisher, Request, Stage, serve_files
from spotlightd.runtime.catalog import load_catalog

PUBLISHERS = load_publishers()
STAGED = Publisher(
    ("a.example",),
    ("sec_ftd",),
    (
        Stage("before", {"a.example/x.zip?day=1": DATA / "cnsfails202102b-real-rows-cut.zip"}),
        Stage("after", {"a.example/x.zip?day=1": DATA / "cnsfails202102b.zip"}),
    ),
    serve_files,
)
UNMOVED = Publisher(
    ("a.example", "b.example"),
    (),
    (Stage("always", {}),),
    lambda request, _: Answer(request.body, status=403) if request.path == "a.example/absent" else None,
)


@pytest.fixture
async def mirror() -> AsyncIterator[Mirror]:
    async with run_mirror((STAGED, UNMOVED)) as running:
        yield running


async def ask(mirror: Mirror, address: str, method: str = "GET", **options: str | dict[str, str]) -> tuple[int, bytes]:
    host, _, path = address.partition("/")
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"{mirror.mirrors[host]}/{path}", **options) as response,  # type: ignore[arg-type]
    ):
        return response.status, await response.read()


async def test_a_document_is_replaced_in_a_later_stage_and_not_sent_twice(mirror: Mirror) -> None:
    first, second = (stage.files["a.example/x.zip?day=1"].read_bytes() for stage in STAGED.stages)
    assert await ask(mirror, "a.example/x.zip?day=1") == (200, first)
    mirror.show(1)
    assert await ask(mirror, "a.example/x.zip?day=1") == (200, second)
    async with aiohttp.ClientSession() as session:
        address = f"{mirror.mirrors['a.example']}/x.zip?day=1"
        async with session.get(address) as response:
            etag = response.headers["ETag"]
        async with session.get(address, headers={"If-None-Match": etag}) as response:
            assert (response.status, response.headers["ETag"]) == (304, etag)


async def test_publishers_of_one_host_are_asked_in_turn_and_nobody_is_404(mirror: Mirror) -> None:
    assert await ask(mirror, "a.example/absent", "POST", data="the body") == (403, b"the body")
    assert await ask(mirror, "a.example/x.zip?day=1", "HEAD") == (200, b"")
    assert (await ask(mirror, "a.example/x.zip"))[0] == 404
    assert (await ask(mirror, "b.example/x.zip?day=1"))[0] == 404
    assert next(iter(mirror.requests)) == "POST a.example/absent"


def test_a_publisher_with_one_stage_changes_at_the_first_only() -> None:
    mirror = Mirror((STAGED, UNMOVED))
    assert mirror.stages == 2
    assert mirror.find_changed(0) == (STAGED, UNMOVED)
    assert mirror.find_changed(1) == (STAGED,)
    mirror.show(1)
    assert mirror.answer(Request("GET", "a.example/absent")).status == 403


@pytest.mark.parametrize("publisher", PUBLISHERS, ids=lambda publisher: publisher.hosts[0])
def test_the_demo_collects_sources_that_exist_and_mirrors_all_of_their_hosts(publisher: Publisher) -> None:
    sources = {source.name: source for source in load_catalog().sources}
    mirrored = {host for each in PUBLISHERS for host in each.hosts}
    assert publisher.sources
    assert {host for name in publisher.sources for host in sources[name].hosts} <= mirrored
    assert all(target.partition("/")[0] in publisher.hosts for stage in publisher.stages for target in stage.files)


@pytest.mark.parametrize("publisher", PUBLISHERS, ids=lambda publisher: publisher.hosts[0])
def test_every_bundled_document_is_served_and_has_a_line_in_the_list_of_sources(publisher: Publisher) -> None:
    listed = (DATA / "SOURCES.md").read_text(encoding="utf-8")
    for stage in publisher.stages:
        for file in stage.files.values():
            assert f"`{file.relative_to(DATA)}`" in listed
            assert file.is_file()


def test_the_list_of_sources_names_only_files_that_are_bundled() -> None:
    bundled = {str(path.relative_to(DATA)) for path in DATA.rglob("*") if path.is_file()}
    lines = (DATA / "SOURCES.md").read_text(encoding="utf-8").splitlines()
    named = {line.split("`")[1] for line in lines if line.startswith("| `")}
    assert named <= bundled
    assert {Path(name) for name in bundled - named} == {Path("SOURCES.md"), Path("timeline.json")}
