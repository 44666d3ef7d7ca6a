"""Rules for all tests: no network but loopback, and no unnoticed skips."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import structlog

from tests.real.kafka import Kafka, KafkaMissingError
from tests.real.store import Store, StoreMissingError
from tests.real.stores import Minio, SeaweedFS

CI = os.environ.get("CI", "").lower() not in {"", "0", "false", "no"}


class NetworkForbiddenError(RuntimeError):
    """A test tried to use the network. It is not an OSError, so that no client takes it for a publisher that is down."""


def _is_local(host: object) -> bool:
    if not isinstance(host, str) or host in {"", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True, scope="session")
def _loopback_only() -> Iterator[None]:
    """Connections to other machines and look-ups of their names raise. Child processes are not covered."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, _guard_connect(getattr(socket.socket, name)))
        patch.setattr(socket, "getaddrinfo", _guard_lookup(socket.getaddrinfo))
        yield


def _guard_connect(connect: Any) -> Any:
    def guarded_connect(self: socket.socket, address: Any) -> Any:
        if self.family in {socket.AF_INET, socket.AF_INET6} and not _is_local(address[0]):
            raise NetworkForbiddenError(f"a test tried to connect to {address[0]}: tests may use loopback only")
        return connect(self, address)

    return guarded_connect


def _guard_lookup(getaddrinfo: Any) -> Any:
    def guarded_lookup(host: Any, *rest: Any, **options: Any) -> Any:
        text = host.decode() if isinstance(host, bytes) else host
        if isinstance(text, str) and text.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if not _is_local(text) and not _is_address(text):
            raise NetworkForbiddenError(f"a test tried to look up {text}: use a name under .invalid, or localhost")
        return getaddrinfo(host, *rest, **options)

    return guarded_lookup


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@pytest.fixture(autouse=True)
def _restore_log() -> Iterator[None]:
    """A command that a test calls configures the log of the whole process. Restore it for later tests."""
    before, handlers = structlog.get_config(), list(logging.getLogger().handlers)
    yield
    structlog.configure(**before)
    logging.getLogger().handlers[:] = handlers


@pytest.fixture(autouse=True)
def _restore_process() -> Iterator[None]:
    """A command that a test calls also sets the umask, the hook for exceptions, and how the process takes SIGHUP."""
    umask, hook, hangup = os.umask(0o022), sys.excepthook, signal.getsignal(signal.SIGHUP)
    os.umask(umask)
    yield
    os.umask(umask)
    sys.excepthook = hook
    signal.signal(signal.SIGHUP, hangup)


@pytest.fixture
def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago. Code that can bind port 0 itself should do so."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A real Apache Kafka for the whole run. A test that stops, kills or wipes it starts it again, and uses its own topics."""
    try:
        broker = Kafka(tmp_path_factory.mktemp("kafka"))
    except KafkaMissingError as error:
        pytest.skip(f"no real Kafka: {error}")
    try:
        with ThreadPoolExecutor(1) as thread:  # a test inside an event loop cannot run another one in its thread
            thread.submit(asyncio.run, broker.start()).result()
        yield broker
    finally:
        broker.kill()


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minio]:
    """A real MinIO for the whole run, with the bucket `spotlightd`. A test that stops it starts it again; own prefixes."""
    with _serve(Minio, tmp_path_factory) as store:
        assert isinstance(store, Minio)
        yield store


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A real SeaweedFS for the whole run, with the bucket `spotlightd`."""
    with _serve(SeaweedFS, tmp_path_factory) as store:
        yield store


@contextmanager
def _serve(kind: type[Store], folders: pytest.TempPathFactory) -> Iterator[Store]:
    try:
        store = kind(folders.mktemp(kind.__name__.lower()))
    except StoreMissingError as error:
        pytest.skip(f"no real {kind.__name__}: {error}")
    try:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, store.start()).result()
        yield store
    finally:
        store.kill()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: a long file that starts last would leave the other processors idle at the end."""
    slow_tests = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow_tests[item.path])  # stable: all else stays in its order


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        _fail(report, item.nodeid)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """A module that is skipped while it is collected has no test that could fail."""
    report = yield
    if CI and report.skipped:
        _fail(report, collector.nodeid)
    return report


def _fail(report: Any, name: str) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"{name} was skipped, which is not allowed under CI: {reason}"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section("NOT TESTED HERE", red=True, bold=True)
        terminalreporter.line(f"{len(skipped)} skipped for the reasons above; with CI=true they fail")
