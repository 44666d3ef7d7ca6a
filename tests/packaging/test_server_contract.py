"""The contract of the warehouse, on the engine under the rendered configuration and with the rights of the daemon's user.

The stand-in of the booted host serves it (tests/host/clickhouse_standin.py); a server cannot be had where the tests run.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.packaging.server_world import ROOT, USERS, VARIABLES, render
from tests.real.kafka import free_ports

pytestmark = pytest.mark.slow
PASSWORD = "constructed-password-of-the-daemon"
START_SECONDS = 120.0


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The stand-in under the rendered files. The contract makes databases of its own, so the rights are for all of their names."""
    folder, port = tmp_path_factory.mktemp("standin"), free_ports(1)[0]
    digests = {f"clickhouse.{name}": hashlib.sha256(PASSWORD.encode()).hexdigest() for name in USERS}
    variables = {
        **VARIABLES,
        "clickhouse_http_port": port,
        "clickhouse_database": "spotlightd*",
        "clickhouse_digests": digests,
    }
    for part, template in (
        ("config.d/spotlightd-server.xml", "server.xml.j2"),
        ("users.d/spotlightd-users.xml", "users.xml.j2"),
    ):
        (folder / part).parent.mkdir()
        (folder / part).write_text(render(template, variables), encoding="utf-8")
    program = [sys.executable, "-P", str(ROOT / "tests/host/clickhouse_standin.py"), str(folder), str(folder / "data")]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(program, stdout=log, stderr=log, env={**os.environ, "TZ": "UTC"}) as process,
    ):
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, "the stand-in ended at once"
        try:
            with urlopen(f"{url}/ping", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"the stand-in did not answer within {START_SECONDS:g} s")


def test_the_warehouse_contract_holds_with_the_rights_of_the_daemon(url: str) -> None:
    environment = {
        **os.environ, "SPOTLIGHTD_CLICKHOUSE_URL": url, "SPOTLIGHTD_CLICKHOUSE_USER": "spotlightd",
        "SPOTLIGHTD_CLICKHOUSE_PASSWORD": PASSWORD,
    }  # fmt: skip
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/clients/test_warehouse.py",
        "-k",
        "server",
    ]
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert result.returncode == 0, result.stdout[-3000:]
    assert " passed" in result.stdout
