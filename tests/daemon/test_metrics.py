"""The real daemon reports the same about its flows to Prometheus, in `heartbeats` and on /status."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.daemon.place import Place
from tests.daemon.process import Daemon
from tests.daemon.publisher import half_month, warehouse
from tests.polling import until

FLOWS = {"watchdog", "heartbeats", "bookkeeping", "collect fast_ftd"}


async def scrape(daemon: Daemon, port: int) -> dict[tuple[str, frozenset[str]], float]:
    """The value of each series, by its name and the values of its labels."""
    async with daemon.session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        assert answer.status == 200
        text = await answer.text()
    return {
        (sample.name.removeprefix("spotlightd_"), frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_metrics_heartbeats_and_status_agree(place: Place, free_port: int) -> None:
    place.show(half_month(0, 1_500), half_month(1, 1_500))
    heartbeats: dict[str, dict[str, Any]] = {}
    async with place.ready(metrics={"port": free_port, "heartbeat_seconds": 0.5}) as daemon:
        await place.wait_until_visible()

        async def is_waiting() -> bool:
            return bool((await daemon.flow("collect fast_ftd"))["state"] == "waiting")

        async def has_rows() -> bool:
            sql = (
                "SELECT flow, sum(beats) AS beats, argMax(state, at) AS state, argMax(expected_per_minute, at) AS expected, "
                "count() AS rows FROM heartbeats GROUP BY flow"
            )
            async with warehouse(place.state) as opened:
                heartbeats.update({row["flow"]: row for row in (await opened.rows(sql)).dicts()})
            return heartbeats.keys() >= FLOWS and all(
                heartbeats[flow]["rows"] > 2 and heartbeats[flow]["beats"] for flow in FLOWS
            )

        await until(is_waiting, "the collector waits for its next look")
        await until(has_rows, "rows of all flows, with beats")
        series = await scrape(daemon, free_port)
        for flow in FLOWS:
            assert series["flow_beats_total", frozenset({flow})] >= heartbeats[flow]["beats"], flow
            assert series["flow_silent_seconds", frozenset({flow})] < 60, flow
            status = await daemon.flow(flow)
            assert "beat" in status["progress"] + status["error"], flow
        assert series["flow_pause_seconds", frozenset({"collect fast_ftd"})] == 2
        assert series["flow_state", frozenset({"collect fast_ftd", "waiting"})] == 1
        assert series["documents_total", frozenset({"fast_ftd", "published"})] == 2
        assert series["rows_published_total", frozenset({"fast_ftd"})] == 3_000
        assert series["loop_lag_seconds_count", frozenset()] > 5
        assert series["process_resident_memory_bytes", frozenset()] > 1 << 20
        assert await daemon.stop() == 0
