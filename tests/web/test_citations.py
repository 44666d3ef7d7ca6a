"""Citations: the same result has the same digest on another instance, and differences are located by document."""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.clients.documents.folder import FolderDocuments
from spotlightd.datasets import system
from spotlightd.engine.lock import state_lock
from spotlightd.engine.process import Engine
from spotlightd.errors import FormatError
from spotlightd.ports.warehouse import Limits
from spotlightd.query import citation, verify
from spotlightd.query.citation import Citation, Library
from spotlightd.query.errors import HttpProblem
from spotlightd.settings import stores
from tests.web.world import FAILS, Publishing, World, corrected, half_month, to_document

pytestmark = pytest.mark.asyncio(loop_scope="session")
DATASETS = (FAILS, *system.SYSTEM_DATASETS)


def library(warehouse: Any) -> Library:
    return Library(warehouse, DATASETS, Limits(seconds=60))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Publishing]:
    """Another instance with an engine of its own, empty tables, and other load ids to come."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with state_lock(folder) as lock:
        async with (
            Engine(lock, stores.EngineSettings()) as engine,
            ClickHouse(engine.url, engine.user, engine.password, "spotlightd", stores.WarehouseSettings()) as warehouse,
            FolderDocuments(folder / "documents") as documents,
        ):
            for dataset in (*system.SYSTEM_DATASETS, FAILS):
                await warehouse.ensure(dataset)
            yield Publishing(warehouse, documents, ids=500)


async def cite(world: World, address: str, as_of: datetime | None = None) -> Citation:
    return await verify.cite(library(world.warehouse), address, as_of)


def reference(rows: list[tuple[Any, ...]]) -> str:
    """The digest by its definition, without an engine."""

    def text(value: Any) -> str:
        if value is None:
            return "\\N"
        if isinstance(value, Decimal):
            return f"{value.normalize():f}"
        marks = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\b": "\\b", "\f": "\\f", "\0": "\\0", "'": "\\'"}
        return "".join(marks.get(char, char) for char in str(value))

    names = [*(column.name for column in FAILS.columns), "document", "member", "line"]
    lines = ["\t".join(names), *("\t".join(map(text, row)) for row in rows)]
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


async def test_the_digest_follows_its_definition(world: World) -> None:
    cited = await cite(world, "/data/sec_ftd")
    parts = [(world.digests["2021/01/a"], half_month(date(2021, 1, 4), 9, 1)),
             (world.digests["again"], corrected(half_month(date(2021, 1, 15), 11, 2)))]  # fmt: skip
    rows = [(*row, digest, 0, at) for digest, part in sorted(parts) for at, row in enumerate(part, 2)]
    assert cited.result.rows == len(rows)
    assert cited.result.sha256 == reference(rows)
    assert sum(document.rows for document in cited.documents) == cited.result.rows


async def test_a_citation_has_nothing_that_is_local_to_its_instance(world: World) -> None:
    _, text, answer = await world.get(f"/cite?address={quote('/data/sec_ftd?symbol=GME&_sort=quantity&_size=5')}")
    content = json.loads(text)
    assert set(content) == {"spotlightd", "address", "as_of", "result", "documents"}
    assert content["address"] == "/data/sec_ftd?symbol=GME"
    assert set(content["result"]) == {"sha256", "rows", "columns"}
    for field in ("load_id", "seq", "127.0.0.1", "100"):
        assert field not in json.dumps({**content, "result": {}, "documents": []})
    assert {document["sha256"] for document in content["documents"]} == {
        world.digests["2021/01/a"],
        world.digests["again"],
    }
    assert answer.headers["Content-Disposition"].endswith('.citation.json"')
    assert citation.from_json(text) == await cite(world, "/s/GME")


@pytest.mark.parametrize(
    ("address", "same"),
    [
        ("/data/sec_ftd.csv?symbol=GME&quantity__gte=5", "/data/sec_ftd?quantity__gte=5&symbol=GME"),
        ("/s/GME", "/data/sec_ftd?symbol=GME"),
        (
            "/data/sec_ftd/2021-01-15,36467W109,GME",
            "/data/sec_ftd?cusip=36467W109&settlement_date=2021-01-15&symbol=GME",
        ),
        ("/data/sec_ftd?_facet=symbol&_next=abc", "/data/sec_ftd"),
        ("/data/sec_ftd?symbol=BRK%2FB", "/data/sec_ftd?symbol=BRK%2FB"),
    ],
)
async def test_addresses_of_the_same_rows_have_one_form(address: str, same: str) -> None:
    assert citation.canonical_address(citation.parse_address(DATASETS, address)) == same
    assert citation.canonical_address(citation.parse_address(DATASETS, same)) == same


async def test_an_instance_with_the_same_documents_verifies_and_others_list_missing_documents(
    world: World, elsewhere: Publishing
) -> None:
    now = await cite(world, "/data/sec_ftd?symbol=GME")
    then = await cite(world, "/data/sec_ftd?symbol=GME", datetime(2021, 3, 20, 9, 2, 30, tzinfo=UTC))
    there = library(elsewhere.warehouse)
    verdict = await verify.verify(there, now)
    assert verdict.outcome == "missing documents"
    assert {missing.document.sha256 for missing in verdict.missing} == {
        world.digests["2021/01/a"],
        world.digests["again"],
    }
    first, second = half_month(date(2021, 1, 4), 9, 1), half_month(date(2021, 1, 15), 11, 2)
    again = corrected(second)
    late = await elsewhere.document("cnsfails202101b.zip", to_document(again), "2021/01/b")
    await elsewhere.load(41, late, "2021/01/b", again)
    early = await elsewhere.document("cnsfails202101a.zip", to_document(first), "2021/01/a")
    await elsewhere.load(42, early, "2021/01/a", first)
    assert (await verify.verify(there, now)).outcome == "same"
    assert [missing.document.sha256 for missing in (await verify.verify(there, then)).missing] == [
        world.digests["2021/01/b"]
    ]
    assert (await verify.verify(library(world.warehouse), then)).outcome == "same"
    other = replace(now, documents=tuple(replace(document, parser="0") for document in now.documents))
    assert (await verify.verify(there, other)).missing[0].local_parsers == ("1",)


async def test_a_difference_is_located_by_document(world: World) -> None:
    cited = await cite(world, "/data/sec_ftd?symbol=GME")
    document = cited.documents[0]
    forged = replace(
        cited,
        result=replace(cited.result, sha256="0" * 64, rows=99),
        documents=(replace(document, lines_sha256="1" * 64, rows=98), *cited.documents[1:]),
    )
    verdict = await verify.verify(library(world.warehouse), forged)
    assert (verdict.outcome, verdict.rows_cited, verdict.rows_found) == ("differs", 99, 20)
    assert [(difference.document.sha256, difference.document.rows) for difference in verdict.differences] == [
        (document.sha256, 98)
    ]


@pytest.mark.parametrize("figure", ["result.rows", "documents.rows", "documents.lines_sha256"])
async def test_a_citation_with_any_figure_forged_differs(world: World, figure: str) -> None:
    cited = await cite(world, "/data/sec_ftd?symbol=GME")
    first, *rest = cited.documents
    forged = {
        "result.rows": replace(cited, result=replace(cited.result, rows=999)),
        "documents.rows": replace(cited, documents=(replace(first, rows=999), *rest)),
        "documents.lines_sha256": replace(cited, documents=(replace(first, lines_sha256="1" * 64), *rest)),
    }[figure]
    verdict = await verify.verify(library(world.warehouse), forged)
    assert (verdict.outcome, verdict.rows_found) == ("differs", 20)
    assert [difference.document.sha256 for difference in verdict.differences] == [first.sha256] * (
        figure != "result.rows"
    )


BEFORE = "2021-03-20T09:02:30Z"


@pytest.mark.parametrize("path", ["/data/sec_ftd?symbol=GME&", "/s/GME?"])
async def test_the_time_in_an_address_is_the_time_that_is_cited(world: World, path: str) -> None:
    then = await cite(world, "/data/sec_ftd?symbol=GME", datetime(2021, 3, 20, 9, 2, 30, tzinfo=UTC))
    assert then != await cite(world, "/data/sec_ftd?symbol=GME")
    assert await cite(world, f"{path}as_of={BEFORE}") == then
    assert await cite(world, f"{path}as_of={BEFORE}", datetime(2021, 3, 20, 9, 2, 30, tzinfo=UTC)) == then
    _, text, _ = await world.get(f"/cite?address={quote(f'{path}as_of={BEFORE}')}")
    assert citation.from_json(text) == then


async def test_two_different_times_are_refused(world: World) -> None:
    with pytest.raises(HttpProblem, match=f"the address has {BEFORE}, the separate parameter 2021-03-20T10:00:00Z"):
        await cite(world, f"/data/sec_ftd?as_of={BEFORE}", datetime(2021, 3, 20, 10, tzinfo=UTC))


@pytest.mark.parametrize("path", ["/data/sec_ftd?symbol=GME", "/s/GME", "/data/sec_ftd/2021-01-15,36467W109,GME"])
@pytest.mark.parametrize("when", ["", BEFORE, "2021-03-20"])
async def test_a_page_links_the_citation_of_the_state_that_it_shows(world: World, path: str, when: str) -> None:
    mark = "&" if "?" in path else "?"
    _, text, _ = await world.get(path + (f"{mark}as_of={when}" if when else ""))
    link = html.unescape(re.search(r'href="(/cite\?[^"]+)"', text)[1])  # type: ignore[index]
    as_of = "2021-03-20T09:02:00Z" if when == BEFORE else "2021-03-20T09:03:00Z"
    assert dict(parse_qsl(link.partition("?")[2]))["as_of"] == as_of
    status, text, _ = await world.get(link)
    assert (status, json.loads(text)["as_of"]) == (200, as_of)


async def test_a_result_without_rows_has_all_documents(world: World) -> None:
    cited = await cite(world, "/data/sec_ftd?symbol=NOBODY")
    assert cited.result.rows == 0
    assert len(cited.documents) == 2
    assert (await verify.verify(library(world.warehouse), cited)).outcome == "same"


async def test_identical_rows_and_many_documents_keep_one_order(elsewhere: Publishing) -> None:
    row = (date(2004, 4, 1), "000000000", "SAME", 5, "SAME\tROW", None)
    for at in range(30):
        digest = await elsewhere.document(f"same{at}.zip", b"same %d" % at, f"2004/{at}")
        await elsewhere.load(100 + at, digest, f"2004/{at}", [row, row])
    cited = await verify.cite(library(elsewhere.warehouse), "/data/sec_ftd?symbol=SAME")
    assert cited.result.rows == 60
    rows = [(*row, document.sha256, 0, line) for document in cited.documents for line in (2, 3)]
    assert cited.result.sha256 == reference(rows)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", "no address of data"),
        ("/status", "no address of data"),
        ("https://elsewhere.example/x", "no address of data"),
        ("http://[::1", "no address of data"),
        ("/data/sec_ftd?symbol=\udcff", "no address of data"),
        ("/data/runs", "cannot be cited"),
        ("/data/nope", "no dataset"),
        ("/data/sec_ftd?nope=1", "no column"),
        ("/data/sec_ftd/1", "is no row"),
    ],
)
async def test_an_address_that_cannot_be_cited_is_refused_with_the_reason(
    world: World, address: str, message: str
) -> None:
    with pytest.raises(HttpProblem, match=message):
        await cite(world, address)


async def test_nothing_can_be_cited_before_it_was_published(world: World) -> None:
    with pytest.raises(HttpProblem, match="Nothing of sec_ftd was published by 2021-03-19"):
        await cite(world, "/data/sec_ftd", datetime(2021, 3, 19, tzinfo=UTC) + timedelta(hours=1))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
GOOD = {
    "spotlightd": 1, "address": "/data/sec_ftd", "as_of": "2021-03-20T09:03:00Z",
    "result": {"sha256": "0" * 64, "rows": 1, "columns": ["cusip"]},
    "documents": [{"sha256": "1" * 64, "parser": "1", "source": "s", "url": "https://u", "rows": 1, "lines_sha256": "2" * 64}],
}  # fmt: skip


def with_field(place: str, value: Any) -> str:
    """The good citation with one field changed, as a file."""
    raw = json.loads(json.dumps(GOOD))
    *way, last = place.split(".")
    inner = raw
    for step in way:
        inner = inner[int(step) if step.isdigit() else step]
    inner[last] = value
    return json.dumps(raw)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        *(("result.rows", value, "`rows` that is no count") for value in ("abc", None, -1, True, 1.5)),
        ("documents.0.rows", "x", "`rows` that is no count"),
        ("result.columns", [], "names no columns"),
        ("documents.0.lines_sha256", "x", "64 hexadecimal"),
        ("documents.0.sha256", "1" * 64 + "\n", "control characters"),
        ("documents.0.url", "https://x/\x1b[2J", "control characters"),
        ("documents.0.parser", "\u202e1", "control characters"),
        ("documents.0.source", "\ud800", "control characters"),
        ("documents.0.url", "javascript:alert(1)", "no address of the web"),
        ("documents.0.url", "file:///etc/passwd", "no address of the web"),
    ],
)
async def test_a_hostile_field_is_refused_by_name(place: str, value: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        citation.from_json(with_field(place, value))


async def test_no_error_contains_control_characters() -> None:
    with pytest.raises(FormatError) as error:
        citation.from_json(with_field("documents.0.\x1b[2J", 1))
    assert str(error.value).isprintable()
    with pytest.raises(FormatError) as error:
        citation.question_of(citation.from_json(with_field("address", "/data/sec_ftd?_%1b[2J=1")), DATASETS)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("address", ["http://[::1", "/data/sec_ftd?_%1b=1"])
async def test_a_citation_with_a_wrong_address_cannot_be_answered(address: str) -> None:
    with pytest.raises(FormatError, match="cannot answer the citation's address"):
        citation.question_of(citation.from_json(with_field("address", address)), DATASETS)


async def test_an_address_that_cannot_be_parsed_is_not_found(world: World) -> None:
    status, text, _ = await world.get("/cite?address=http%3A%2F%2F%5B%3A%3A1")
    assert status == 404
    assert "no address of data" in text


@given(st.sampled_from([*GOOD, ""]), JSON, st.binary(max_size=20))
async def test_any_file_is_a_citation_or_is_refused(field: str, value: Any, noise: bytes) -> None:
    raw = json.dumps({**GOOD, field: value}).encode() if field else noise
    result: Citation | None = None
    try:
        result = citation.from_json(raw)
    except FormatError as error:
        assert str(error)  # noqa: PT017  # both outcomes are right, but no other one
    assert result is None or citation.from_json(json.dumps(citation.to_json(result))) == result
