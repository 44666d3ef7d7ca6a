"""Publishers and documents at their worst, all through one life of the real daemon: each is told in a sentence, none
comes into the data, and the next good document is loaded.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.demo.construct import HEADER, add_trailers
from tests.clients.publisher_server import (
    Answer,
    cut_short,
    cut_short_chunked,
    document,
    garbage,
    hang_up,
    redirect,
    reply,
    reset,
    silence,
    trickle,
)  # fmt: skip
from tests.daemon.place import Place
from tests.daemon.process import Daemon
from tests.daemon.publisher import (
    INDEX_PATH,
    HalfMonth,
    expected,
    half_month,
    index,
    lines,
    show,
    warehouse,
    zipped,
)  # fmt: skip
from tests.polling import until

ROWS = 1200
GROWTH_BYTES = 120 << 20
GOOD = half_month(0).content
BOMB = f"{HEADER}\n".encode() + b"20100720|000000000|AAA|1|CONSTRUCTED|1.25\n" * 1_500_000


@dataclass(frozen=True, slots=True)
class Case:
    """The publisher's answers for one half-month, and the expected result."""

    about: str
    answers: tuple[Answer, ...]
    outcome: str
    detail: str


def text(change: Callable[[str], str], number: int = 1) -> Answer:
    """A document whose whole text was changed."""
    return document(zipped(change(add_trailers(lines(number, ROWS)))))


def archive(*members: tuple[str, bytes]) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members:
            opened.writestr(name, content)
    return whole.getvalue()


def column(change: Callable[[list[str]], list[str]]) -> Answer:
    """A document in which every line's fields were changed, the header's too."""
    head, *rows = add_trailers(lines(1, ROWS)).splitlines()
    changed = ["|".join(change(row.split("|"))) for row in (head, *rows[:-2])]
    return document(zipped("\n".join([*changed, *rows[-2:]]) + "\n"))


def claiming(length: int) -> Answer:
    return cut_short(b"PK\x03\x04", of=length)


CASES = (  # asked for from the last to the first: the pause that is too long holds for the whole host
    Case("503 with a pause that is too long for us", (reply(503, Retry_After="3"),), "failed", "requests a pause of 3 s"),
    Case("42 with a pause, then the document", (reply(42, Retry_After="1"), document(half_month(1).content)), "published", ""),
    Case("503, then the document", (reply(503), document(half_month(2).content)), "published", ""),
    Case("a zip that was cut off", (document(GOOD[: len(GOOD) // 2]),), "refused", "zip"),
    Case("a page of HTML with 200", (reply(200, b"<!doctype html><title>Maintenance</title>"),), "wrong body", "Maintenance"),
    Case("another header", (text(lambda data: data.replace(HEADER, "A|B|C|D|E|F")),), "refused", "header"),
    Case("a renamed column", (text(lambda data: data.replace("|PRICE", "|CLOSING PRICE")),), "refused", "PRICE"),
    Case("an extra column", (column(lambda fields: [*fields, "NEW"]),), "refused", "NEW"),
    Case("a missing column", (column(lambda fields: fields[:-1]),), "refused", "PRICE"),
    Case("a trailer that is off by one", (text(lambda data: data.replace(f"count {ROWS}", f"count {ROWS + 1}")),), "refused", "1,201"),
    Case("a sum that is off by one", (text(lambda data: data[:-2] + str((int(data[-2]) + 1) % 10) + "\n"),), "refused", "shares"),
    Case("decimal commas", (text(lambda data: data.replace("|1.25", "|1,25")),), "refused", "fast_ftd allows 0.10%; the first: "),
    Case("a bomb of zeros", (document(archive(("cnsfails.txt", bytes(64 << 20)))),), "refused", "not a text of lines"),
    Case("a bomb of lines, 1 to 1,000", (document(archive(("cnsfails.txt", BOMB))),), "refused", "200"),
    Case("10,000 entries", (document(archive(*((f"{at}.txt", b"") for at in range(10_000)))),), "refused", "1,000"),
    Case("a claim of 5 GB", (claiming(5_000_000_000),), "failed", "longer than 268,435,456 bytes"),
    Case("a way to a private address", (redirect("https://10.11.12.13/fails.zip"),), "failed", "10.11.12.13"),
    Case("a way to this machine", (redirect("http://127.0.0.1:9/fails.zip"),), "failed", "127.0.0.1"),
    Case("a way to somebody else", (redirect("https://elsewhere.invalid/fails.zip"),), "failed", "elsewhere.invalid"),
    Case("403 without a word", (reply(403),), "failed", "refuses"),
    Case("403 with a page and a pause", (reply(403, b"<title>Undeclared Tool</title>", Retry_After="1"),), "failed", "Undeclared Tool"),
    Case("429 without a pause", (reply(429),), "failed", "429 Too Many Requests"),
    Case("503 without a pause", (reply(503),), "failed", "503 Service Unavailable"),
    Case("404", (reply(404),), "absent", "has no"),
    Case("one byte at a time", (trickle(GOOD, every=0.02),), "failed", "less than 1,000 a second"),
    Case("silence in the middle", (silence(GOOD[:500], of=len(GOOD)),), "failed", "sent nothing for"),
    Case("a reset in the middle", (reset(GOOD[:500], of=len(GOOD)),), "failed", "broke off"),
    Case("an end in the middle", (cut_short(GOOD[:500], of=len(GOOD)),), "failed", "broke off"),
    Case("a last chunk that never comes", (cut_short_chunked(GOOD),), "failed", "broke off"),
    Case("no answer at all", (hang_up(),), "failed", "closed the connection"),
    Case("no HTTP", (garbage(b"\x00\xff" * 500 + b"\r\n\r\n"),), "failed", "closed the connection"),
)  # fmt: skip


async def test_bad_input_is_reported_in_a_sentence_and_the_next_good_document_is_loaded(place: Place) -> None:
    cases = {half_month(number): case for number, case in enumerate(CASES)}
    for month, case in cases.items():
        place.server.script(month.path, *case.answers)
    place.server.script(INDEX_PATH, index(month.path for month in cases))
    async with place.ready(publisher={"stall_seconds": 1.0, "backoff_most_seconds": 2.0}) as daemon:
        before = daemon.memory()
        await daemon.wait_for("source checked", seconds=90)
        assert daemon.memory() - before < GROWTH_BYTES
        async with warehouse(place.state) as reader:
            runs = await all_runs(reader)
        for month, case in cases.items():
            outcome, error = runs[month.covers]
            assert (outcome, case.detail in error) == (case.outcome, True), f"{case.about}: {outcome}: {error}"
        good = [month for month, case in cases.items() if case.outcome == "published"]
        assert await place.visible() == expected(good)
        await read_status_errors(daemon, runs)
        await wait_for_good_documents(place, good)
        assert await daemon.stop() == 0
    assert not list((place.state / "documents" / "incoming").iterdir())


async def all_runs(reader: ClickHouse) -> dict[str, tuple[str, str]]:
    """Outcome and error of the run of every document, by slice, once all of them can be read."""

    async def mirrored() -> list[tuple[Any, ...]]:
        answer = await reader.rows("SELECT covers, outcome, error FROM runs WHERE covers != ''")
        return list(answer.rows) if len(answer.rows) == len(CASES) else []

    rows = await until(mirrored, "all runs are mirrored")
    return {covers: (outcome, error) for covers, outcome, error in rows}


async def read_status_errors(daemon: Daemon, runs: dict[str, tuple[str, str]]) -> None:
    """The newest failures stand there, each with its sentence; the flow itself is well."""
    failures = (await daemon.status())["failures"]
    assert len(failures) >= 20
    assert all((item["outcome"], item["error"]) == runs[item["covers"]] for item in failures)
    page = (await daemon.get("/status")).text
    assert "came too slowly" in page
    assert (await daemon.flow("collect fast_ftd"))["state"] == "waiting"
    assert (await daemon.get("/readyz")).status == 200


async def wait_for_good_documents(place: Place, good: list[HalfMonth]) -> None:
    """What was cut off is served whole, and a new one appears: both are loaded when they are asked for."""
    mended, new = half_month(3), half_month(len(CASES) + 1)
    show(place.server, mended, new)
    done = await place.command("backfill", "fast_ftd")
    assert (done.status, done.out) == (0, f"2 documents: 2 published; {mended.rows + new.rows:,} rows\n")
    assert await place.visible() == expected([*good, mended, new])
