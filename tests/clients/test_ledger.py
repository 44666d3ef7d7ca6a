"""The ledger keeps its records across any stop, and never uses a number twice."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from spotlightd import (
    Batch,
    Body,
    Column,
    Dataset,
    Expected,
    Link,
    OutsideRows,
    Pages,
    Reject,
    Rhythm,
    Rows,
    StoreError,
)
from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.model.provenance import Document, Load, Run
from spotlightd.ports.ledger import Job, KnownAddress

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
DIGEST = "ab" * 32
constructed = Dataset(
    name="constructed_days", title="Constructed days", publisher="nobody", about="for tests",
    columns=(Column("day", "Date", "the day"), Column("count", "UInt64", "how many")),
    key=("day",), order=("day",), time="day", rhythm=Rhythm("daily", 1),
)  # fmt: skip


async def _discover(_: Pages) -> AsyncIterator[Link]:
    yield Link("https://example.org/a.zip", "2021/01/a", date(2021, 1, 1), date(2021, 1, 14))


def _parse(_: Body) -> list[Rows | Reject]:
    return []


SOURCE = Batch(
    name="constructed", title="Constructed", home="https://example.org/", datasets=(constructed,), discover=_discover,
    parse=lambda body: iter(_parse(body)), parser="1", hosts=("example.org",), cron="0 6 * * *",
    expected=lambda day: Expected("2021/01/a", day), outside=OutsideRows.REFUSE,
)  # fmt: skip


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqliteLedger]:
    async with SqliteLedger(tmp_path / "ledger.sqlite") as opened:
        yield opened


async def test_a_load_walks_through_its_states_and_is_found_after_a_stop(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    async with SqliteLedger(path) as ledger:
        load = await ledger.begin_load(SOURCE, DIGEST, "2021/01/a")
        assert (load.state, load.datasets, load.seq) == ("loading", ("constructed_days",), 0)
        await ledger.mark_loaded(load.load_id, {"constructed_days": 3}, [Reject(0, 7, "x|y", "too few fields")])
        await ledger.intend(load.load_id, 4, [1, 2], NOON)
    async with SqliteLedger(path) as ledger:
        (publishing,) = await ledger.loads(states=("publishing",))
        assert publishing == Load(
            load.load_id, "constructed", DIGEST, "1", "2021/01/a", "publishing", ("constructed_days",),
            {"constructed_days": 3}, 1, 4, (1, 2), NOON,
        )  # fmt: skip
        assert (await ledger.mark_published(load.load_id)).state == "published"
        (reject,) = await ledger.history("rejects", 0, 10)
        assert reject[2:] == ("constructed", DIGEST, "1", 0, 7, "x|y", "too few fields")


async def test_load_ids_are_never_used_twice_even_after_the_ledger_was_lost(ledger: SqliteLedger) -> None:
    ids = [(await ledger.begin_load(SOURCE, DIGEST, "2021")).load_id for _ in range(3)]
    assert ids == sorted(set(ids))
    published = Load(90, "constructed", DIGEST, "1", "2021", "published", ("constructed_days",), {"constructed_days": 1}, seq=7, published_at=NOON)  # fmt: skip
    await ledger.adopt([published], {"loads": 120, "runs": 50})
    assert (await ledger.begin_load(SOURCE, DIGEST, "2021")).load_id == 121
    assert published in await ledger.loads("constructed", states=("published",))
    await ledger.record(Run(NOON, "constructed", "", "", "discovered"))
    assert (await ledger.history("runs", 0, 10))[0][0] == 51


async def test_a_publication_that_the_warehouse_knows_wins_over_an_older_state(ledger: SqliteLedger) -> None:
    load = await ledger.begin_load(SOURCE, DIGEST, "2021")
    known = replace(load, state="published", seq=3, rows={"constructed_days": 2}, published_at=NOON)
    await ledger.adopt([known], {})
    assert await ledger.loads() == (known,)


async def test_what_an_address_answered_is_remembered(ledger: SqliteLedger) -> None:
    known = KnownAddress(
        "https://example.org/a.zip", "2021/01/a", DIGEST, '"e"', "Mon", NOON, NOON, "published", "1", 2, NOON
    )
    await ledger.save_address("constructed", known)
    await ledger.save_address("constructed", replace(known, failures=3))
    again, urls = replace(known, failures=3), ["https://example.org/new.zip", known.url]
    assert await ledger.known_addresses("constructed", urls) == {known.url: again}
    assert await ledger.known_addresses("constructed", urls[:1]) == {}
    assert await ledger.known_addresses("another", urls) == {}
    assert await ledger.addresses_of("constructed", [DIGEST, "cd" * 32]) == (again,)
    assert await ledger.addresses_of("constructed", ["cd" * 32]) == await ledger.addresses_of("another", [DIGEST]) == ()


async def test_any_number_of_addresses_is_looked_up(ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spotlightd.clients.ledger.ledger.ADDRESSES_AT_ONCE", 2)
    urls = [f"https://example.org/{number}.zip" for number in range(7)]
    for url in urls[::2]:
        await ledger.save_address("constructed", KnownAddress(url, "2021"))
    assert list(await ledger.known_addresses("constructed", urls)) == urls[::2]


async def test_stored_documents_become_due_as_if_their_parser_were_new(ledger: SqliteLedger) -> None:
    stored = KnownAddress("https://example.org/a.zip", "2021/01/a", DIGEST, '"e"', "Mon", NOON, NOON, "published", "1")
    absent = KnownAddress("https://example.org/b.zip", "2021/01/b", outcome="absent")
    for known in (stored, absent):
        await ledger.save_address("constructed", known)
    await ledger.save_address("another", stored)
    assert await ledger.forget_outcomes("constructed") == 1
    after = await ledger.known_addresses("constructed", [stored.url, absent.url])
    assert after == {stored.url: replace(stored, outcome="", parser=""), absent.url: absent}
    assert await ledger.known_addresses("another", [stored.url]) == {stored.url: stored}


async def test_a_document_is_kept_once_and_found_by_its_digest(ledger: SqliteLedger) -> None:
    document = Document(
        DIGEST, 10, "constructed", "https://example.org/a.zip", "2021/01/a", NOON, via="http://127.0.0.1:1"
    )
    await ledger.save_document(document)
    await ledger.save_document(replace(document, fetched_at=NOON.replace(year=2027)))
    assert await ledger.document(DIGEST) == document
    assert await ledger.document("cd" * 32) is None
    assert len(await ledger.history("documents", 0, 10)) == 1


async def test_a_job_is_open_until_it_has_ended(ledger: SqliteLedger) -> None:
    job = await ledger.add_job(Job("backfill", "constructed", date(2004, 3, 22)))
    assert await ledger.open_jobs("backfill", "replay") == (job,)
    assert await ledger.open_jobs("replay") == ()
    await ledger.update_job(replace(job, state="done", done=3, total=3, detail="3 of 3"))
    assert await ledger.open_jobs("backfill") == ()
    assert await ledger.job(job.number) == replace(job, state="done", done=3, total=3, detail="3 of 3")
    with pytest.raises(StoreError, match="has no job 99"):
        await ledger.job(99)


async def test_a_ledger_of_a_newer_release_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="written by a newer release"):
        async with SqliteLedger(path):
            pass
    assert path.read_bytes() == before


async def test_an_unknown_load_is_an_error_and_leaves_no_rejects(ledger: SqliteLedger) -> None:
    with pytest.raises(StoreError, match="has no load 5"):
        await ledger.mark_dead(5, [Reject(0, 1, "", "")])
    assert await ledger.history("rejects", 0, 10) == ()


async def test_a_folder_that_is_no_folder_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="unable to open"):
        async with SqliteLedger(tmp_path / "missing" / "ledger.sqlite"):
            pass


async def test_the_documents_of_all_sources_are_listed_whatever_their_number(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spotlightd.clients.ledger.ledger.DOCUMENTS_AT_ONCE", 2)
    digests = [f"{number:064x}" for number in range(5)]
    for size, digest in enumerate(digests):
        document = Document(digest, size, "constructed", f"https://example.org/{size}.zip", "2021", NOON)
        await ledger.save_document(document)
    again = Document(digests[1], 1, "another", "https://example.org/other.zip", "2021", NOON)
    await ledger.save_document(again)
    documents = await ledger.documents()
    assert [(digest, stored.size) for digest, stored in documents.items()] == list(zip(digests, range(5), strict=True))
    assert sorted(documents[digests[1]].sources) == ["another", "constructed"]
