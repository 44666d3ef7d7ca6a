"""Commands beside a running daemon, and on its folder when it is gone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from spotlightd.runtime.endpoint import process_start_ticks
from tests.clients.publisher_server import reply, silence
from tests.daemon.place import Place, make_place
from tests.daemon.publisher import INDEX_PATH, half_month, index
from tests.polling import until

SUM = "SELECT count() AS rows, sum(quantity) AS shares FROM sec_ftd"


async def test_reading_commands_give_the_same_result_beside_a_daemon_and_without_one(place: Place) -> None:
    place.show(*(half_month(number) for number in range(3)))
    cited, rows = place.folder / "citation.json", place.folder / "rows.csv"
    async with place.ready() as daemon:
        await place.wait_until_visible()
        citation, summed, exported, listed = await asyncio.gather(
            place.command("cite", "/data/sec_ftd?symbol=S7"),
            place.command("query", SUM, "--json"),
            place.command("export", "sec_ftd", "--where", "symbol=S7", "--to", str(rows)),
            place.command("sources", "--json"),
        )
        cited.write_text(citation.out, encoding="utf-8")
        verified = await place.command("verify", str(cited), "--json")
        assert await daemon.stop() == 0
    assert [result.status for result in (citation, summed, exported, listed, verified)] == [0] * 5
    sums = {
        "rows": sum(document.rows for document in place.documents),
        "shares": sum(document.shares for document in place.documents),
    }
    assert summed.json() == [sums]
    assert rows.read_text().count("\n") == 1 + 6
    assert next(source["newest"] for source in listed.json() if source["source"] == "fast_ftd") == half_month(2).covers
    same = {"outcome": "same", "rows_cited": 6, "rows_found": 6, "missing": [], "differences": []}
    assert verified.json() == same
    assert (await place.command("verify", str(cited), "--json")).json() == same
    assert (await place.command("query", SUM, "--json")).json() == [sums]


async def test_a_backfill_beside_a_daemon_is_run_by_it_and_survives_its_death(place: Place) -> None:
    place.show(half_month(0))
    async with place.ready() as daemon:
        await place.wait_until_visible()
        place.show(*(half_month(number) for number in range(1, 5)))
        place.server.script(half_month(2).path, silence())  # newest first: there it hangs, half done
        asking = asyncio.create_task(
            place.command("backfill", "fast_ftd", "--from", "2010-01-15", "--to", "2010-02-28")
        )
        await until(lambda: place.count_requests(half_month(2)), "the backfill is under way")
        progress = "SELECT state, done, total FROM jobs"
        await until(lambda: place.ledger(progress) == [("running", 1, 3)], "the ledger says how far it has come")
        await daemon.kill()
    place.show()
    async with place.ready(schedule={"on_start": False}) as daemon:
        done = await asking
        assert (done.status, done.out) == (0, "3 documents: 2 published, 1 unchanged; 2,400 rows\n")
        assert "the running daemon does it, as job 1" in done.err
        assert await place.visible() == {
            document.covers: (document.rows, document.shares) for document in place.documents[:4]
        }
        assert await daemon.stop() == 0


async def test_the_status_of_a_backfill_shows_that_a_document_was_not_available(place: Place) -> None:
    place.show(half_month(0), half_month(1))
    place.server.script(half_month(1).path, reply(404))
    expected_output = (
        "2 documents: 1 absent, 1 published; 1,200 rows; 2010/01/b: www.sec.gov has no https://www.sec.gov/files/data/"
    )
    async with place.ready(schedule={"on_start": False}) as daemon:
        done = await place.command("backfill", "fast_ftd")
        assert (done.status, done.out[: len(expected_output)]) == (1, expected_output)
        other = await place.command("backfill", "sec_ftd")
        assert other.status == 78
        assert "the running daemon does not collect sec_ftd" in other.err
        missing = await place.command("backfill", "nothing")
        assert "no source is called 'nothing'" in missing.err
        place.server.script(INDEX_PATH, index(()))
        empty = await place.command("backfill", "fast_ftd")
        assert empty.status == 1
        assert "it lists 0 documents of fast_ftd, where there are at least 1" in empty.out
        refused = await place.command("rebuild")
        assert refused.status == 78
        assert refused.err == "spotlightd: the daemon is running: stop it first, so that nothing changes meanwhile\n"
        assert await daemon.stop() == 0
    place.show()
    alone = await place.command("backfill", "fast_ftd")  # a person asks: what failed a moment ago is asked for again
    assert (alone.status, alone.out) == (0, "2 documents: 1 published, 1 unchanged; 1,200 rows\n")
    rebuilt = await place.command("rebuild", "--json")
    runs = place.ledger("SELECT outcome FROM runs WHERE covers != '' ORDER BY id")
    assert runs == [("absent",), ("published",), ("published",), ("unchanged",)]
    looks = place.ledger("SELECT outcome FROM runs WHERE covers = ''")
    assert {"discovered", "wrong body"} == {outcome for (outcome,) in looks}
    assert (rebuilt.status, rebuilt.json()["rows"]) == (0, 2 + len(runs) + len(looks))


async def test_a_bundle_is_written_beside_a_daemon_and_imported_where_none_runs(place: Place, tmp_path: Path) -> None:
    place.show(half_month(0), half_month(1))
    file = tmp_path / "all.bundle.tar"
    async with place.ready() as daemon:
        await place.wait_until_visible()
        bundled = await place.command("bundle", "sec_ftd", "--out", str(file), "--json")
        refused = await place.command("import", str(file))
        assert await daemon.stop() == 0
    assert (bundled.status, bundled.json()["rows"]) == (0, sum(document.rows for document in place.documents))
    assert refused.status == 78
    assert "stop it (`systemctl stop spotlightd`), import, and start it again" in refused.err
    (tmp_path / "other").mkdir()
    other = make_place(tmp_path / "other", place.server)
    other.settings(schedule={"on_start": False})
    imported = await other.command("import", str(file), "--json")
    assert {load["came"] for load in imported.json()["loads"]} == {"imported"}
    async with other.ready(schedule={"on_start": False}) as daemon:
        assert await other.visible() == place.expected
        sql = "SELECT settlement_date, cusip, symbol, quantity FROM sec_ftd LIMIT 1"
        row = (await other.command("query", sql, "--json")).json()[0]
        key = ",".join(str(row[name]) for name in ("settlement_date", "cusip", "symbol"))
        page = (await daemon.get(f"/data/sec_ftd/{key}")).text
        assert "a bundle that another instance made on" in page
        assert f"|{row['cusip']}|{row['symbol']}|{row['quantity']}|" in page
        assert await daemon.stop() == 0


@pytest.mark.slow
async def test_files_of_a_killed_daemon_mislead_no_command(place: Place) -> None:
    """Its number may be another process's by now; here it is this one's."""
    place.show(half_month(0))
    async with place.ready() as daemon:
        await place.wait_until_visible()
        daemon.send(signal.SIGKILL)
        await daemon.ended()
    path = place.state / "daemon.json"
    left = json.loads(path.read_text())
    path.write_text(json.dumps(left | {"pid": os.getpid()}))
    assert process_start_ticks(os.getpid()) != left["start_ticks"]
    assert (await place.command("query", SUM, "--json")).json() == [{"rows": 1200, "shares": half_month(0).shares}]
