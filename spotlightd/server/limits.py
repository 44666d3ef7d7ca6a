"""How many connections a server may hold, and how long each may take. The descriptors of the process set the bound."""

from __future__ import annotations

import resource
from dataclasses import dataclass

RESERVE_SHARE = 4  # a quarter of the descriptors, and at least LEAST_RESERVE, are for stores, sources and children
LEAST_RESERVE = 128
DESCRIPTORS_EACH = 2  # a request may open a document or a connection to the warehouse beside its own connection
LEAST_CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The bounds of one server.

    `address_connections` is for one address of another machine. A head or a body that is late ends its connection, and so does a reader
    that takes less than 64 KiB in `send_seconds`.
    """

    connections: int
    address_connections: int
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    idle_seconds: float = 75.0
    send_seconds: float = 75.0  # longer than handlers allow, so that their reason is logged


def fit_limits(most: int, share: float = 0.5, **seconds: float) -> ConnectionLimits:
    """Limits for at most that many connections, fewer where descriptors are few. One address gets `share` of them."""
    connections = min(most, count_affordable(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
    return ConnectionLimits(connections, max(1, int(connections * share)), **seconds)


def count_affordable(descriptors: int) -> int:
    """How many connections leave the reserve untouched."""
    if descriptors == resource.RLIM_INFINITY:
        descriptors = 1 << 20
    reserve = max(LEAST_RESERVE, descriptors // RESERVE_SHARE)
    return max(LEAST_CONNECTIONS, (descriptors - reserve) // DESCRIPTORS_EACH)
