"""Messages to systemd: ready, alive, stopping, and one line of status for `systemctl status`.

The protocol is one datagram of `KEY=value` lines to the socket that NOTIFY_SOCKET names. Without that variable (a
terminal, a container, a test) nothing is sent.

A message that cannot be delivered is not an error: systemd notices a missing READY or WATCHDOG by itself and acts on it.
The caller gets False and continues.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping

from spotlightd.flows.supervise import Board, Reporter, Status

WATCHDOG_SECONDS = 2.0  # without systemd's watchdog
SEND_SECONDS = 1.0  # systemd's queue is full only when systemd itself hangs; the event loop waits no longer than this


def ready(status: str = "") -> bool:
    """The daemon is ready: units that are ordered after it may start."""
    return notify({"READY": "1"} | _status_line(status))


def stopping(status: str = "") -> bool:
    """The daemon has begun to stop."""
    return notify({"STOPPING": "1"} | _status_line(status))


def notify_watchdog() -> bool:
    """Feed the watchdog. Call it from the event loop itself, so that a loop that hangs is noticed."""
    return notify({"WATCHDOG": "1"})


def status(text: str) -> bool:
    """The line that `systemctl status` shows."""
    return notify(_status_line(text))


def watchdog_seconds(environ: Mapping[str, str] = os.environ) -> float:
    """Seconds between calls of `notify_watchdog`: half of WatchdogSec; 0 when systemd does not watch this process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    usec = environ.get("WATCHDOG_USEC", "")
    return int(usec) / 2_000_000 if usec.isdecimal() else 0.0


def notify(message: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> bool:
    """Send one message; True when systemd's socket took it.

    The address is a path, or a name in the abstract namespace of Linux, written with a leading `@`.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    target = "\0" + address[1:] if address.startswith("@") else address
    text = "\n".join(f"{key}={value}" for key, value in message.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.settimeout(SEND_SECONDS)
            out.connect(target)
            out.sendall(text.encode())
    except OSError:
        return False
    return True


def _status_line(text: str) -> dict[str, str]:
    """STATUS in one line: systemd would read a second line as another key."""
    return {"STATUS": " ".join(text.split())} if text else {}


async def feed_watchdog(report: Reporter, board: Board) -> None:
    """Feed systemd's watchdog from the event loop itself, and report the flows in one status line."""
    pause = watchdog_seconds() or WATCHDOG_SECONDS
    report.expect_beats(60 / pause)
    while True:
        report.beat()
        notify_watchdog()
        status(_summarize(board.read()))
        await asyncio.sleep(pause)


def _summarize(statuses: tuple[Status, ...]) -> str:
    failing = [f"{flow.name}: {flow.error or flow.beat_summary}" for flow in statuses if flow.error or flow.is_hanging]
    return "; ".join(failing) or f"{len(statuses)} flows at work"
