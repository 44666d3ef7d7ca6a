"""The demo as a process, and a real Prometheus and node exporter that watch it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.polling import until
from tests.real.kafka import free_ports
from tests.real.prometheus import PrometheusMissingError, find_program

START_SECONDS = 120.0
PROMETHEUS = """\
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
scrape_configs:
  - job_name: spotlightd
    static_configs: [{{targets: ['127.0.0.1:{daemon}']}}]
  - job_name: node
    static_configs: [{{targets: ['127.0.0.1:{node}']}}]
"""


@dataclass(frozen=True, slots=True)
class Watched:
    """The running demo, and the Prometheus that scrapes it."""

    state: Path
    prometheus: str
    session: aiohttp.ClientSession

    async def query_prometheus(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query. AssertionError when Prometheus refuses it."""
        async with self.session.get(f"{self.prometheus}/api/v1/query", params={"query": expression}) as response:
            answer = await response.json()
        assert answer["status"] == "success", answer
        return list(answer["data"]["result"])

    async def query_warehouse(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a statement, in the daemon's database. AssertionError when the engine refuses it."""
        endpoint = json.loads((self.state / "daemon.json").read_text())
        headers = {"Authorization": aiohttp.encode_basic_auth(endpoint["user"], endpoint["password"])}
        params = {"database": endpoint["database"], "default_format": "JSON"}
        async with self.session.post(endpoint["url"], data=sql, headers=headers, params=params) as response:
            text = await response.text()
        assert response.status == 200, text
        return list(json.loads(text)["data"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    """The demo with bars, an archived partition and a gap, watched for a few scrapes."""
    folder = tmp_path_factory.mktemp("watched")
    try:
        programs = {name: find_program(name) for name in ("prometheus", "prometheus-node-exporter")}
    except PrometheusMissingError as error:
        pytest.skip(f"no real Prometheus: {error}")
    web, metrics, prometheus, node = free_ports(4)
    (folder / "spotlightd.toml").write_text(f"[metrics]\nport = {metrics}\n")
    (folder / "prometheus.yml").write_text(PROMETHEUS.format(daemon=metrics, node=node))
    demo = ("-m", "spotlightd", "demo", "--config", str(folder / "spotlightd.toml"))
    async with AsyncExitStack() as stack:
        run(stack, folder, sys.executable, *demo, "--state", str(folder / "state"), "--port", str(web))
        run(stack, folder, str(programs["prometheus-node-exporter"]), f"--web.listen-address=127.0.0.1:{node}")
        run(
            stack, folder, str(programs["prometheus"]), f"--web.listen-address=127.0.0.1:{prometheus}",
            f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
        )  # fmt: skip
        session = await stack.enter_async_context(aiohttp.ClientSession())
        scene = Watched(folder / "state", f"http://127.0.0.1:{prometheus}", session)
        await until(
            lambda: is_filled(scene), "the demo has bars, gaps and an archive", seconds=START_SECONDS, every=0.5
        )
        yield scene


async def is_filled(scene: Watched) -> bool:
    """Whether everything that a panel shows has happened once, and Prometheus has seen it."""
    try:
        counts = await scene.query_warehouse(
            "SELECT (SELECT count() FROM gaps) AS gaps, (SELECT count() FROM bars_current) AS bars, "
            "(SELECT count() FROM archives) AS archives, (SELECT count() FROM runs WHERE outcome = 'refused') AS refused"
        )
        scraped = await scene.query_prometheus("sum(spotlightd_gaps_total) > 0")
        checked = await scene.query_prometheus("sum(spotlightd_archive_rows) > 0")
    except (OSError, aiohttp.ClientError, AssertionError, json.JSONDecodeError):
        return False  # something of it has not started yet
    return all(int(count) for count in counts[0].values()) and bool(scraped) and bool(checked)


def run(stack: AsyncExitStack, folder: Path, *command: str) -> None:
    """Run a program until the stack closes."""
    log = stack.enter_context((folder / f"{Path(command[0]).name}.log").open("wb"))
    process = subprocess.Popen(command, stdout=log, stderr=log)
    stack.callback(end, process)


def end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
