"""`/metrics` on its own port: what Prometheus expects, nothing else, and no answer for foreign host names."""

from __future__ import annotations

from collections.abc import MutableMapping
from contextlib import ExitStack
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.parser import text_string_to_metric_families

from spotlightd.errors import SettingsError
from spotlightd.metrics.registry import PrometheusMetrics
from spotlightd.server.limits import ConnectionLimits
from spotlightd.settings import serving
from spotlightd.web.app import serve
from spotlightd.web.metrics import CONTENT_TYPE, serve_metrics
from tests.polling import until
from tests.server.half_requests import open_half_requests

LogLines = list[MutableMapping[str, Any]]


async def fetch(address: str, *, method: str = "GET", host: str = "") -> tuple[int, str, str]:
    """Status, content type and text."""
    headers = {"Host": host} if host else {}
    async with aiohttp.ClientSession() as session, session.request(method, address, headers=headers) as answer:
        return answer.status, answer.headers["Content-Type"], await answer.text()


async def test_prometheus_reads_it(free_port: int) -> None:
    metrics = PrometheusMetrics(("finnhub",))
    metrics.count("frames_received_total", 3, source="finnhub")
    async with serve_metrics(metrics.text, serving.MetricsSettings(port=free_port)) as address:
        assert address == f"http://127.0.0.1:{free_port}/metrics"
        status, kind, text = await fetch(address)
    assert (status, kind) == (200, CONTENT_TYPE)
    assert CONTENT_TYPE == CONTENT_TYPE_PLAIN_0_0_4
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {sample.labels["source"]: sample.value for sample in families["spotlightd_frames_received"].samples} == {
        "finnhub": 3, "other": 0,
    }  # fmt: skip


async def test_no_other_path_or_method_is_answered(free_port: int) -> None:
    async with serve_metrics(lambda: b"x 1\n", serving.MetricsSettings(port=free_port)) as address:
        root = address.removesuffix("/metrics")
        assert [(await fetch(root + path))[0] for path in ("/", "/status", "/metrics/", "/static/x")] == [404] * 4
        assert [(await fetch(address, method=method))[0] for method in ("POST", "PUT", "DELETE")] == [405] * 3


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200), ("localhost:9108", 200), ("[::1]:9108", 200), ("metrics.example.org", 200),
        ("evil.example.org", 421), ("10.0.0.7", 421), ("127.0.0.1.evil.example.org", 421),
    ],
)  # fmt: skip
async def test_a_foreign_name_is_refused(free_port: int, host: str, status: int) -> None:
    settings = serving.MetricsSettings(port=free_port)
    async with serve_metrics(lambda: b"x 1\n", settings, ["metrics.example.org"]) as address:
        answered, _, text = await fetch(address, host=host)
    assert answered == status
    assert (text == "x 1\n") == (status == 200)


async def test_the_next_free_port_is_used_and_logged_when_one_is_taken(free_port: int, log_lines: LogLines) -> None:
    settings = serving.MetricsSettings(port=free_port)
    async with (
        serve_metrics(lambda: b"one 1\n", settings) as first,
        serve_metrics(lambda: b"two 2\n", settings) as second,
    ):
        assert first != second
        assert ((await fetch(first))[2], (await fetch(second))[2]) == ("one 1\n", "two 2\n")
    assert [line["port"] for line in log_lines if line["event"] == "port in use"][:1] == [free_port]


async def test_port_0_switches_metrics_off() -> None:
    async with serve_metrics(lambda: b"", serving.MetricsSettings(port=0)) as address:
        assert address == ""


async def test_an_address_of_another_machine_is_a_settings_error(free_port: int) -> None:
    with pytest.raises(SettingsError, match=r"the metrics cannot listen on 192\.0\.2\.1"):
        async with serve_metrics(lambda: b"", serving.MetricsSettings(host="192.0.2.1", port=free_port)):
            pass


async def test_a_dropped_connection_is_counted(free_port: int) -> None:
    metrics = PrometheusMetrics(())
    limits = ConnectionLimits(8, 8, head_seconds=0.05)
    counted = 'spotlightd_connections_dropped_total{reason="head",server="explorer"} 1.0'
    with ExitStack() as held:
        async with serve(web.Application(), "127.0.0.1", free_port, limits, metrics=metrics) as port:
            await open_half_requests(held, port, 1)
            await until(lambda: counted in metrics.text().decode())
