"""What systemd hears, on a real datagram socket."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from spotlightd.runtime import systemd

pytestmark = pytest.mark.usefixtures("no_systemd")


@pytest.fixture
def no_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test run that is itself under systemd must not send it anything."""
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["path", "abstract"])
def receiver(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """Systemd's end of the socket, in both forms that its address can take."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@spotlightd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        end.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield end


def test_ready_is_sent_with_a_status_line(receiver: socket.socket) -> None:
    assert systemd.ready("explorer on http://127.0.0.1:8080")
    assert receiver.recv(4096) == b"READY=1\nSTATUS=explorer on http://127.0.0.1:8080"


def test_watchdog_and_stopping_are_sent(receiver: socket.socket) -> None:
    assert systemd.notify_watchdog()
    assert systemd.stopping()
    assert [receiver.recv(4096) for _ in range(2)] == [b"WATCHDOG=1", b"STOPPING=1"]


def test_a_status_of_two_lines_cannot_smuggle_a_key(receiver: socket.socket) -> None:
    assert systemd.status("loading\nREADY=1")
    assert receiver.recv(4096) == b"STATUS=loading READY=1"


def test_nothing_is_sent_without_systemd() -> None:
    assert not systemd.ready()


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1", "/nowhere/notify"])
def test_an_address_that_cannot_be_reached_is_not_an_error(address: str) -> None:
    assert not systemd.notify({"READY": "1"}, {"NOTIFY_SOCKET": address})


def test_a_systemd_that_does_not_read_holds_nobody_up_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "SEND_SECONDS", 0.01)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        sent = iter(lambda: systemd.notify({"WATCHDOG": "1"}, {"NOTIFY_SOCKET": str(tmp_path / "deaf")}), False)
        taken = sum(1 for _ in itertools.islice(sent, 10_000))
    assert 0 < taken < 10_000


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
    ],
)
def test_the_watchdog_is_fed_at_half_of_what_the_unit_allows(environ: dict[str, str], seconds: float) -> None:
    assert systemd.watchdog_seconds(environ) == seconds
