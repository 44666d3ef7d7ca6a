"""The same files in another wrapper are the same version of a document. All archives are constructed."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace

import pytest

from spotlightd import Batch, Body, Reject, Rows
from spotlightd.parse import zipped
from spotlightd.testing import Reply
from tests.flows.world import INDEX, World, source, url
from tests.flows.world import parse as parse_text

A, B = "2021-01-04,1\n2021-01-05,2\n", "2021-01-04,5\n"


def pack(text: str, *, name: str = "counts.csv", method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr(name, text)
        archive.comment = comment
    return out.getvalue()


def parse(body: Body) -> Iterator[Rows | Reject]:
    (member,) = zipped.members(body)
    text = body.path.with_name(f"{body.path.name}.unpacked")
    text.write_bytes(b"".join(zipped.pieces(member)))
    yield from parse_text(replace(body, path=text))


def archives() -> Batch:
    return replace(source(), parse=parse)


async def ingest(world: World, content: bytes, batch: Batch | None = None) -> str:
    world.publishers.replies.update({INDEX: Reply(b"2021/a\n"), url("2021/a"): Reply(content)})
    (result,) = await world.ingest(batch or archives())
    return result.outcome


async def test_an_archive_that_was_packed_anew_is_no_new_version_and_its_bytes_are_kept(world: World) -> None:
    """Also when the publisher takes a correction back in another wrapper, it is compared with what is visible."""
    packed, anew = pack(A), pack(A, method=zipfile.ZIP_STORED, comment=b"packed anew")
    assert [await ingest(world, content) for content in (packed, anew, anew)] == ["published", "unchanged", "unchanged"]
    async with world.stores() as stores:
        (load,) = await stores.ledger.loads()
        assert len(await stores.ledger.documents()) == len(world.documents.objects) == 2
        assert load.supersedes == ()
    assert await ingest(world, pack(B)) == "published"
    assert await world.read_counts() == {"2021-01-04": 5}
    assert await ingest(world, anew) == "published"
    assert await world.read_counts() == {"2021-01-04": 1, "2021-01-05": 2}


async def test_other_bytes_inside_are_a_new_version(world: World) -> None:
    assert [await ingest(world, content) for content in (pack(A), pack(f"{A}2021-01-06,3\n"))] == ["published"] * 2


@pytest.mark.parametrize("name", ["other.csv", "folder/counts.csv"])
@pytest.mark.parametrize(("matter", "outcome"), [(False, "unchanged"), (True, "published")])
async def test_other_names_inside_are_a_new_version_only_where_names_mean_something(
    world: World, name: str, outcome: str, *, matter: bool
) -> None:
    batch = replace(archives(), names_matter=matter)
    assert await ingest(world, pack(A), batch) == "published"
    assert await ingest(world, pack(A, name=name), batch) == outcome


async def test_a_text_that_is_no_archive_is_a_new_version_when_its_bytes_differ(world: World) -> None:
    for text in (A, A.replace("\n", "\r\n")):
        world.serve({"2021/a": text})
        assert [result.outcome for result in await world.ingest()] == ["published"]


async def test_a_correction_is_loaded_although_the_older_archive_is_gone(world: World) -> None:
    await ingest(world, pack(A))
    world.documents.objects.clear()
    assert await ingest(world, pack(B)) == "published"
    assert await world.read_counts() == {"2021-01-04": 5}
