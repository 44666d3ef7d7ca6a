"""The real daemon with a table that somebody renamed, dropped or emptied: it holds, names table and remedy, and goes on."""

from __future__ import annotations

from tests.daemon import publisher
from tests.daemon.place import Place
from tests.daemon.process import Daemon
from tests.daemon.publisher import half_month
from tests.polling import until

BUSY_SECONDS = 120.0  # the flow looks every 15 s, and a busy machine is slow


async def execute(place: Place, sql: str) -> None:
    async with publisher.warehouse(place.state) as opened:
        await opened.execute(sql)


async def table_exists(place: Place) -> bool:
    async with publisher.warehouse(place.state) as opened:
        answer = await opened.rows(
            "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = 'sec_ftd'"
        )
    return bool(answer.rows[0][0])


async def is_told(daemon: Daemon, sentence: str) -> bool:
    """Whether pages and metrics say it, and the flow of the source waits with that sentence."""
    flow = await daemon.flow("collect fast_ftd")
    return bool(
        sentence in (await daemon.get("/readyz")).text
        and sentence in (await daemon.get("/status")).text
        and flow["state"] == "holding"
        and sentence in flow["error"]
    )


async def test_a_renamed_table_is_not_made_anew_by_a_start_and_all_goes_on_when_it_is_back(place: Place) -> None:
    place.show(half_month(0), half_month(1))
    async with place.ready() as daemon:
        await place.wait_until_visible()
        await execute(place, "RENAME TABLE sec_ftd TO elsewhere")
        await daemon.stop()
    place.show(half_month(2))
    async with place.start() as daemon:
        await daemon.wait_for("daemon ready")
        sentence = "table sec_ftd is missing: 2 publications"
        await until(lambda: is_told(daemon, sentence), "the missing table is told everywhere", seconds=BUSY_SECONDS)
        assert daemon.find_events("table lost rows", dataset="sec_ftd")
        assert not await table_exists(place)
        await execute(place, "RENAME TABLE elsewhere TO sec_ftd")
        await place.wait_until_visible(seconds=BUSY_SECONDS)
        await daemon.ready()
        assert daemon.find_events("table complete", dataset="sec_ftd")
        await daemon.stop()


async def test_a_dropped_table_is_made_again_from_the_stored_documents_when_an_operator_asks(place: Place) -> None:
    place.show(half_month(0), half_month(1))
    async with place.ready() as daemon:
        await place.wait_until_visible()
        await execute(place, "DROP TABLE sec_ftd SYNC")
        await daemon.stop()
    requests = [place.count_requests(document) for document in place.documents]
    done = await place.command("rebuild", "sec_ftd")
    assert done.status == 0, done.err
    assert "2 documents will be loaded again" in done.out
    async with place.ready() as daemon:
        await place.wait_until_visible()
        await daemon.stop()
    assert [place.count_requests(document) for document in place.documents] == requests


async def test_without_the_table_of_publications_the_daemon_does_not_start_and_it_can_be_made_again(
    place: Place,
) -> None:
    place.show(half_month(0))
    async with place.ready() as daemon:
        await place.wait_until_visible()
        await execute(place, "DROP TABLE loads SYNC")
        await daemon.stop()
    async with place.start() as daemon:
        assert await daemon.ended(seconds=60) == 74
    assert any("table loads is missing" in line and "spotlightd rebuild loads" in line for line in daemon.other_lines)
    done = await place.command("rebuild", "loads")
    assert done.status == 0, done.err
    async with place.ready() as daemon:
        await place.wait_until_visible()
        await daemon.stop()
