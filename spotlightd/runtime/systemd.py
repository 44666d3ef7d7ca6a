"""What the daemon tells systemd: that it is ready, alive, stopping, and how it is, in one line for `systemctl status`.

The protocol is one datagram of `KEY=value` lines to the socket that NOTIFY_SOCKET names. Without that variable (a
terminal, a container, a test) nothing is sent.

A message that cannot be delivered is not an error of ours: systemd notices a missing READY or WATCHDOG by itself, and
acts on it. The caller gets False and goes on.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

SEND_SECONDS = (
    1.0  # systemd's queue is full only when systemd itself is stuck; the event loop waits no longer than this
)


def ready(status: str = "") -> bool:
    """The daemon answers: units that are ordered after it may start."""
    return notify({"READY": "1"} | _said(status))


def stopping(status: str = "") -> bool:
    """The daemon was asked to stop, and has begun to."""
    return notify({"STOPPING": "1"} | _said(status))


def alive() -> bool:
    """Feed the watchdog. To be called from the event loop itself, so that a stuck loop is noticed."""
    return notify({"WATCHDOG": "1"})


def status(text: str) -> bool:
    """The line that `systemctl status` shows."""
    return notify(_said(text))


def watchdog_seconds(environ: Mapping[str, str] = os.environ) -> float:
    """How often to call `alive`, in seconds: half of what the unit allows; 0 when nobody watches this process."""
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
    where = "\0" + address[1:] if address.startswith("@") else address
    text = "\n".join(f"{key}={value}" for key, value in message.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.settimeout(SEND_SECONDS)
            out.connect(where)
            out.sendall(text.encode())
    except OSError:
        return False
    return True


def _said(text: str) -> dict[str, str]:
    """STATUS is one line: a second one would be read as another key."""
    return {"STATUS": " ".join(text.split())} if text else {}
