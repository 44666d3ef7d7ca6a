"""Rows, documents, symbols, search, the first page and the status, as a reader without script sees them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from spotlightd.commands.collect.sources import describe_source
from spotlightd.errors import FormatError, StoreError
from spotlightd.model.source import Expected
from spotlightd.settings.missing import Missing
from spotlightd.settings.settings import Settings
from spotlightd.settings.sources import ScheduleSettings
from spotlightd.sources.sec_ftd import source
from spotlightd.web.state import DaemonState, EngineState
from tests.web.world import FAILS, STARTED, World, open_database, state

pytestmark = pytest.mark.asyncio(loop_scope="session")
ROW = "/data/sec_ftd/2021-01-15,36467W109,GME"
WITHDRAWN = "/data/sec_ftd/2021-01-15,00165C104,AMC"


async def test_a_row_shows_its_line_and_its_earlier_values(world: World) -> None:
    status, text, _ = await world.get(ROW)
    assert status == 200
    again = world.digests["again"]
    assert f"/source/{again}?member=0&amp;line=2" in text
    assert "https://www.sec.gov/files/data/cnsfails202101b.zip" in text
    assert "Earlier versions" in text
    assert "<strong>quantity</strong> was" in text
    assert f"/source/{world.digests['2021/01/b']}?member=0&amp;line=2" in text


async def test_a_row_as_json_carries_its_receipt(world: World) -> None:
    _, text, _ = await world.get(f"{ROW}.json")
    (row,) = json.loads(text)["rows"][-1:]
    assert row["receipt"]["document"] == world.digests["again"]
    assert (row["receipt"]["member"], row["receipt"]["line"] != "") == (0, True)
    assert row["fields"]["quantity"]["unit"] == "shares"


async def test_a_withdrawn_row_is_shown_as_withdrawn(world: World) -> None:
    status, text, _ = await world.get(WITHDRAWN)
    assert status == 200
    assert "published and then withdrawn" in text
    status, text, _ = await world.get(f"{WITHDRAWN}?as_of=2021-03-20T09:02:30Z")
    assert "Later publications" not in text
    assert "published and then withdrawn" not in text


async def test_an_earlier_state_of_a_row_points_to_what_came_later(world: World) -> None:
    _, text, _ = await world.get(f"{ROW}?as_of=2021-03-20T09:02:30Z")
    assert "Later publications changed this row" in text
    assert f"/source/{world.digests['2021/01/b']}?member=0&amp;line=2" in text


@pytest.mark.parametrize(
    "key", ["2021-01-16,36467W109,NOPE", "x", "2021-01-15", "2021-01-15,36467W109,GME,more", "%2e%2e"]
)
async def test_a_row_that_does_not_exist_is_not_found(world: World, key: str) -> None:
    status, text, _ = await world.get(f"/data/sec_ftd/{key}")
    assert status == 404
    assert "<h1>" in text


async def test_a_record_of_this_instance_has_a_page_too(world: World) -> None:
    status, text, _ = await world.get("/data/documents/1")
    assert status == 200
    assert "cnsfails202101a.zip" in text


async def test_a_line_is_shown_with_the_lines_around_it(world: World) -> None:
    _, text, _ = await world.get(f"/source/{world.digests['again']}?member=0&line=2")
    marked_row = re.search(r'<tr class="here".*?</tr>', text, re.DOTALL)
    assert marked_row
    assert "20210115|36467W109|GME|" in marked_row[0]
    assert "SETTLEMENT DATE|CUSIP" in text
    assert "of cnsfails.txt" in text


async def test_untrusted_text_in_a_document_is_shown_and_not_run(world: World) -> None:
    _, text, _ = await world.get(f"/source/{world.digests['again']}?member=0&line=4")
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert" not in text
    assert "ZERO␀NUL" in text
    assert "\0" not in text


async def test_a_refused_document_shows_its_sentence_and_its_lines(world: World) -> None:
    _, text, _ = await world.get(f"/source/{world.digests['refused']}")
    assert "<strong>Refused.</strong> cnsfails202102b.zip: the line &lt;Trailer record count&gt; is missing" in text
    assert "has 2 fields, not 6" in text
    assert "2021&lt;b&gt;␀|" in text


async def test_a_superseded_document_names_its_successor(world: World) -> None:
    _, text, _ = await world.get(f"/source/{world.digests['2021/01/b']}")
    assert "superseded" in text
    assert world.digests["again"] in text


@pytest.mark.parametrize("query", ["line=x", "line=-1", "member=70000&line=1", "line=99999999999", "line=%00"])
async def test_a_place_that_is_no_number_is_refused(world: World, query: str) -> None:
    status, text, _ = await world.get(f"/source/{world.digests['again']}?{query}")
    assert status == 400
    assert "is not a number from" in text


async def test_a_line_that_cannot_be_shown_has_a_reason(world: World) -> None:
    _, text, _ = await world.get(f"/source/{world.digests['again']}?member=3&line=2")
    assert "The line cannot be shown: the document has no line 2 in member 3" in text

    async def broken(*_: Any, **__: Any) -> Any:
        raise FormatError("the archive grows 1,000 times: <bomb>")

    async with world.served(excerpt=broken) as other:
        status, text, _ = await other.get(f"/source/{world.digests['again']}?line=2")
    assert status == 200
    assert "&lt;bomb&gt;" in text


async def test_an_unknown_document_is_not_found(world: World) -> None:
    for path in (f"/source/{'0' * 64}", f"/source/{'0' * 64}/raw", "/source/../../etc/passwd", "/source/ABC"):
        status, _, _ = await world.get(path)
        assert status == 404


async def test_a_symbol_has_a_sentence_a_drawing_and_a_table(world: World) -> None:
    status, text, _ = await world.get("/s/GME")
    assert status == 200
    assert "20 days with rows from <time>2021-01-04</time> to <time>2021-01-25</time>. Largest:" in text
    assert text.count('class="bar') >= 40
    assert text.count(f'href="{ROW}"') >= 2
    assert "As table" in text
    assert "A balance, not a flow" in text
    series = json.loads(
        re.findall(r'<script type="application/json" class="series">(.*?)</script>', text, re.DOTALL)[0]
    )
    assert len(series["days"]) == len(series["amounts"]) == len(series["worths"]) == 20
    _, _, answer = await world.get(series["address"] + "2021-01-15")
    assert answer.headers["Location"] == ROW
    assert series["corrected"] == [9]


async def test_a_corrected_day_and_a_withdrawn_one_are_marked(world: World) -> None:
    _, text, _ = await world.get("/s/GME")
    assert 'class="bar corrected"' in text
    assert ">corrected</mark>" in text
    _, text, _ = await world.get("/s/AMC")
    assert ">withdrawn</mark> 2021-01-15: was" in text


async def test_a_day_of_a_symbol_leads_to_its_row_or_its_rows(world: World) -> None:
    for path, leads in (
        ("/s/BRK%2FB/sec_ftd/2021-01-04", "/data/sec_ftd/2021-01-04,084670702,BRK~sB"),
        ("/s/GME/sec_ftd/2021-01-15?as_of=2021-03-20T09:02:30Z", f"{ROW}?as_of=2021-03-20T09:02:30Z"),
        ("/s/GME/sec_ftd/2020-01-01", "/data/sec_ftd?symbol=GME&settlement_date=2020-01-01"),
    ):
        status, _, answer = await world.get(path)
        assert (status, answer.headers["Location"]) == (303, leads)
    for path in ("/s/GME/runs/2021-01-04", "/s/GME/sec_ftd/x", "/s/GME/nope/2021-01-04"):
        status, _, _ = await world.get(path)
        assert status == 404


async def test_a_symbol_without_prices_shows_no_worth(world: World) -> None:
    _, text, _ = await world.get("/s/ZERO")
    assert "No worth is shown: the publisher gives no price" in text


async def test_a_symbol_with_a_slash_has_its_page(world: World) -> None:
    status, text, _ = await world.get("/s/BRK%2FB")
    assert status == 200
    assert "2021-01-15,084670702,BRK~sB" in text


@pytest.mark.parametrize("symbol", ["NOPE", "%00", "'--", "%3Cscript%3E", "A" * 100])
async def test_an_unknown_symbol_is_not_found_and_not_run(world: World, symbol: str) -> None:
    status, text, _ = await world.get(f"/s/{symbol}")
    assert status == 404
    assert "<script>" not in text


async def test_a_symbol_before_the_first_publication_is_not_found(world: World) -> None:
    status, text, _ = await world.get("/s/GME?as_of=2020-01-01")
    assert status == 404
    assert "Nothing was published by then" in text


@pytest.mark.parametrize(
    ("query", "address"),
    [("gme", "/s/GME"), (" GME ", "/s/GME"), ("36467W109", "/s/GME"), ("36467w10", "/s/GME"), ("BRK/B", "/s/BRK%2FB")],
)
async def test_a_single_exact_match_redirects_to_its_page(world: World, query: str, address: str) -> None:
    status, _, answer = await world.get("/search", params={"q": query})
    assert (status, answer.headers["Location"]) == (303, address)


async def test_the_beginning_of_a_name_lists_companies(world: World) -> None:
    _, text, _ = await world.get("/search?q=amc+ent")
    assert 'href="/s/AMC"' in text
    assert "GAMESTOP" not in text


@pytest.mark.parametrize("query", ["", "zzz", "<b>", "'", "%", "\\", "AMC%"])
async def test_a_search_without_a_match_shows_a_message(world: World, query: str) -> None:
    status, text, _ = await world.get("/search", params={"q": query})
    assert status == 200
    assert 'href="/s/' not in text


async def test_the_first_page_shows_what_there_is(world: World) -> None:
    status, text, _ = await world.get("/")
    assert status == 200
    assert "2021-01-25" in text
    assert "54 days, older than usual" in text
    assert f">{6 * 9 + 6 * 11 - 1:,}<" in text
    assert ">correction</mark>" in text
    assert ">refused</mark>" in text
    assert "the largest of 2021/01/b" in text
    assert "Demo: constructed rows of 2021" in text


async def test_the_status_page_judges_lateness_by_the_publishers_calendar(world: World) -> None:
    _, text, _ = await world.get("/status")
    assert ">late</mark> 2021/02/a was due 2021-03-07" in text
    assert "once &lt;b&gt;fell&lt;/b&gt;" in text
    assert "3 of 4 documents" in text
    assert "Landlock ABI 4" in text
    assert "<dt>Parser</dt><dd>no Landlock: Function not implemented, seccomp</dd>" in text
    assert "<dt>Verifier</dt><dd>no child has run yet</dd>" in text
    async with world.served(judged_on=date(2021, 3, 1)) as earlier:
        _, text, _ = await earlier.get("/status")
    assert ">on time</mark> 2021/01/b is published" in text


async def test_a_suspended_source_shows_the_reason(world: World) -> None:
    async with world.served(sources=(replace(source, suspended="The publisher stopped in 2024."),)) as other:
        _, text, _ = await other.get("/status")
    assert "The publisher stopped in 2024." in text


async def test_the_status_can_be_read_by_machines(world: World) -> None:
    _, text, _ = await world.get("/status.json")
    status_json = json.loads(text)
    assert status_json["sources"][0]["late"] is True
    assert status_json["sources"][0]["newest"] == "2021/01/b"
    assert status_json["state"]["engine"]["restarts"] == 2
    assert status_json["state"]["confinement"]["parser"] == "no Landlock: Function not implemented, seccomp"
    assert status_json["failures"][0]["outcome"] == "refused"


async def test_the_status_shows_refused_documents_and_a_failed_attempt_at_their_source(world: World) -> None:
    """A refused document stays there until it is loaded, however many attempts come after it."""
    _, text, _ = await world.get("/status")
    refusal = "cnsfails202102b.zip: the line &lt;Trailer record count&gt; is missing"
    assert f'<mark class="tag red">refused</mark> {refusal}' in text
    assert f'<mark class="tag red">1 refused</mark> {refusal}' in text
    _, text, _ = await world.get("/status.json")
    assert json.loads(text)["sources"][0]["refused"] == 1


async def test_a_slice_is_on_time_when_a_larger_one_that_contains_it_is_published(world: World) -> None:
    for due, late in {"2021/01/b": False, "2021/01/b/x": False, "2021/01": True, "2021/01/bx": True}.items():

        def expect(_: date, covers: str = due) -> Expected:
            return Expected(covers, date(2021, 3, 1))

        async with world.served(sources=(replace(source, expected=expect),)) as other:
            _, text, _ = await other.get("/status.json")
        assert json.loads(text)["sources"][0]["late"] is late, due


async def test_the_command_says_of_a_source_what_the_page_says(world: World) -> None:
    settings = replace(Settings(), schedule=ScheduleSettings(judged_on=date(2021, 3, 1)))
    row = await describe_source(source, world.warehouse, settings)
    assert (row[0], row[2], row[4], row[7]) == ("sec_ftd", "2021/01/b", "2021/01/b", "in time")
    assert row[3] != "never"
    row = await describe_source(replace(source, name="unknown"), world.warehouse, settings)
    assert (row[2], row[3], row[7]) == ("", "never", "late")


async def test_the_status_page_names_the_tables_that_the_engine_did_not_load(world: World) -> None:
    def partly() -> DaemonState:
        return DaemonState("0", STARTED, EngineState("Landlock", detached=("guests.t is not loaded: <garbage>",)))

    async with world.served(state=partly) as page:
        _, text, _ = await page.get("/status")
    assert '<p class="error">guests.t is not loaded: &lt;garbage&gt;</p>' in text


async def test_readiness_reports_problems(world: World) -> None:
    assert (await world.get("/readyz"))[:2] == (200, "ready\n")

    class Down:
        async def ping(self) -> None:
            raise StoreError("it does not answer")

    def troubled() -> DaemonState:
        return DaemonState("0", STARTED, EngineState(""), problems=("collect sec_ftd: the disk is full",))

    async with world.served(warehouse=Down(), state=troubled) as sick:
        status, text, _ = await sick.get("/readyz")
        assert status == 503
        assert text == "warehouse: it does not answer\ndegraded: collect sec_ftd: the disk is full\n"
        assert (await sick.get("/healthz"))[:2] == (200, "up\n")
    async with world.served(documents=Down(), state=troubled) as degraded:  # readers get their answers
        status, text, _ = await degraded.get("/readyz")
        assert status == 200
        assert text == "ready\ndegraded: collect sec_ftd: the disk is full\ndegraded: documents: it does not answer\n"
        assert (
            '<mark class="tag amber">degraded</mark> collect sec_ftd: the disk is full'
            in (await degraded.get("/status"))[1]
        )
    async with world.served(state=lambda: replace(state(), ready=False)) as starting:
        assert (await starting.get("/readyz"))[:2] == (503, "the daemon is still starting\n")


async def test_the_first_page_of_a_new_instance_says_what_is_collected_and_what_is_missing(world: World) -> None:
    async with open_database(world, "first_run", [FAILS]) as fresh:
        missing = (Missing("no contact is set: the SEC answers only those who name one", "Set publisher.contact."),)
        async with fresh.served(missing=missing) as served:
            _, text, _ = await served.get("/")
    assert "First steps" in text
    assert "collected</mark> SEC fails to deliver" in text
    assert "missing</mark> no contact is set" in text
    _, text, _ = await world.get("/")
    assert "First steps" not in text
