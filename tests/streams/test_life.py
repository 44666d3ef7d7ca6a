"""The real daemon and a venue: from the socket to the table, through stops and kills."""

from __future__ import annotations

from tests.streams.place import Place


async def test_what_the_venue_makes_is_in_the_table_and_on_the_pages(place: Place) -> None:
    async with place.ready() as daemon:
        await place.wait_for_flow(1_000)
        count = await place.settle()
        assert count.ticks > 1_000
        status = (await daemon.status())["state"]
        assert [feed["source"] for feed in status["feeds"]] == ["finnhub"]
        assert (await daemon.get("/live")).status == 200
        assert (await daemon.get("/topics")).status == 200
        assert await daemon.stop() == 0


async def test_a_stop_and_a_kill_lose_nothing_outside_gaps(place: Place) -> None:
    async with place.ready() as daemon:
        await place.wait_for_flow()
        assert await daemon.stop() == 0
    async with place.ready() as daemon:
        await place.wait_for_flow()
        await daemon.kill()
    async with place.ready():
        await place.wait_for_flow()
        await place.settle()
        assert place.gap_causes() == ["stopped", "crash"]
