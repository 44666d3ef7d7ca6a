"""The real daemon and a venue: from the socket to the table, through stops and kills."""

from __future__ import annotations

from tests.streams.place import Place


async def test_what_the_venue_makes_is_in_the_table_and_on_the_pages(here: Place) -> None:
    async with here.ready() as daemon:
        await here.flowing(1_000)
        count = await here.settled()
        assert count.made > 1_000
        status = (await daemon.status())["state"]
        assert [one["source"] for one in status["feeds"]] == ["finnhub"]
        assert (await daemon.get("/live")).status == 200
        assert (await daemon.get("/topics")).status == 200
        assert await daemon.stop() == 0


async def test_a_stop_and_a_kill_lose_nothing_but_what_a_gap_says(here: Place) -> None:
    async with here.ready() as daemon:
        await here.flowing()
        assert await daemon.stop() == 0
    async with here.ready() as daemon:
        await here.flowing()
        await daemon.kill()
    async with here.ready():
        await here.flowing()
        await here.settled()
        assert here.our_causes() == ["stopped", "crash"]
