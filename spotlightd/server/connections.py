"""The open connections of a server: what each waits for, which are late, and which makes room for a new one.

1,120 half requests once took all 1,024 descriptors: no page opened for 59 s, and 98 s of live data were lost. So a
connection that waits for its client can be closed at any time to make room, the longest wait first. A connection whose
request is being answered is closed only when too many readers take nothing, or too many answers take long.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from spotlightd.backoff import Clock
from spotlightd.server.limits import ConnectionLimits

SEND_BYTES = 1 << 16
SLOW_SHARE = 0.25  # of the places, for connections whose readers take nothing at the moment
LONG_SHARE = 0.75  # of the places, for answers that take longer than LONG_SECONDS: the others stay for short ones
LONG_SECONDS = 30.0  # longer than a page waits and reads
_NETWORK_BITS = 64  # one subscriber has at least so many bits of IPv6 addresses


class Body(Protocol):
    """The body of a request, as far as it has come."""

    def is_eof(self) -> bool: ...


class Wait(Enum):
    """What a connection waits for: its client's next bytes (HEAD), its client's next request (IDLE), or us (ANSWER)."""

    HEAD = "head"
    IDLE = "idle"
    ANSWER = "answer"


@dataclass(eq=False, slots=True)
class Connection:
    """One connection. `since` is when its wait began, `unsent` how much its reader had not taken at `sent_at`."""

    address: str
    since: float
    wait: Wait = Wait.HEAD
    transport: asyncio.Transport | None = None
    body: Body | None = None
    received_at: float = 0.0
    is_slow: bool = False
    sent_at: float = 0.0
    unsent: int = 0
    was_read: bool = False
    was_answered: bool = False
    is_aborted: bool = False

    def attach(self, transport: asyncio.Transport) -> None:
        """The connection is open. It may have had to make room before that."""
        self.transport = transport
        if self.is_aborted:
            transport.abort()

    def abort(self) -> None:
        self.is_aborted = True
        if self.transport is not None:
            self.transport.abort()

    @property
    def can_be_spared(self) -> bool:
        """Whether it waits for its client. A request that has come but is not read yet does not."""
        return self.wait is Wait.IDLE or (self.wait is Wait.HEAD and self.was_read)

    @property
    def is_unread(self) -> bool:
        """Whether it is new, and what it sent first is not read yet."""
        return self.wait is Wait.HEAD and not self.was_read and not self.was_answered

    def find_late(self, limits: ConnectionLimits, now: float) -> str:
        """What is late on this connection: `head`, `idle`, `body` or `send`; empty when nothing is."""
        if self.wait is not Wait.ANSWER:
            seconds = limits.head_seconds if self.wait is Wait.HEAD else limits.idle_seconds
            return self.wait.value if now - self.since > seconds else ""
        if self.is_slow:
            self._note_progress(now)
            return "send" if now - self.sent_at > limits.send_seconds else ""
        if self.body is None or self.body.is_eof() or not self._is_reading():
            self.received_at = now
        return "body" if now - self.received_at > limits.body_seconds else ""

    def _is_reading(self) -> bool:
        """False while we ourselves take no more of the body: then the client is not late."""
        return self.transport is not None and self.transport.is_reading()

    def _note_progress(self, now: float) -> None:
        size = self.transport.get_write_buffer_size() if self.transport is not None else 0
        if not self.unsent - SEND_BYTES < size <= self.unsent:
            self.sent_at, self.unsent = now, size


@dataclass(slots=True)
class Connections:
    """The open connections of one server. `dropped` counts those that were closed or refused, by the reason."""

    limits: ConnectionLimits
    clock: Clock = field(default_factory=Clock)
    dropped: Counter[str] = field(default_factory=Counter)
    _open: set[Connection] = field(default_factory=set)
    _by_address: Counter[str] = field(default_factory=Counter)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __len__(self) -> int:
        return len(self._open)

    async def admit(self, address: str) -> Connection | None:
        """A place for a new connection. Waits while every other one is being answered; None when its address has too many."""
        address = network_of(address)
        while (crowd := self._find_crowd(address)) is not None:
            if self._make_room(crowd):
                continue
            if len(crowd) < self.limits.connections:
                self.dropped["address"] += 1
                return None
            self._changed.clear()
            await self._changed.wait()
        connection = Connection(address, self.clock.now())
        self._open.add(connection)
        self._by_address[address] += 1
        return connection

    def _find_crowd(self, address: str) -> Collection[Connection] | None:
        """The connections of which one must end before the address can have another; None when there is room."""
        if self._by_address[address] >= self._count_allowed(address):
            return [connection for connection in self._open if connection.address == address]
        return self._open if len(self._open) >= self.limits.connections else None

    def _count_allowed(self, address: str) -> int:
        """How many connections the address may have. A proxy on this machine has those of all its readers."""
        return self.limits.connections if is_loopback(address) else self.limits.address_connections

    def remove(self, connection: Connection) -> None:
        """The connection is closed, or about to be."""
        if connection in self._open:
            self._open.remove(connection)
            self._by_address[connection.address] -= 1
            if not self._by_address[connection.address]:
                del self._by_address[connection.address]
            self._changed.set()

    def note_bytes(self, connection: Connection) -> bool:
        """Bytes have come. True for the first ones of another request."""
        connection.received_at = self.clock.now()
        if connection.wait is not Wait.IDLE:
            return False
        connection.wait, connection.since, connection.was_read = Wait.HEAD, connection.received_at, False
        return True

    def note_read(self, connection: Connection) -> None:
        """Had a whole request come until now, it would be answered."""
        connection.was_read = True
        self._changed.set()

    def begin_answer(self, connection: Connection, body: Body) -> None:
        now = self.clock.now()
        connection.wait, connection.since, connection.received_at, connection.body = Wait.ANSWER, now, now, body
        connection.was_answered = True

    def end_answer(self, connection: Connection) -> None:
        connection.wait, connection.since, connection.body = Wait.IDLE, self.clock.now(), None
        self._changed.set()

    def note_slow(self, connection: Connection, *, is_slow: bool) -> None:
        """Whether the reader of the connection has stopped to take what is sent."""
        connection.is_slow, connection.sent_at, connection.unsent = is_slow, self.clock.now(), 0
        self._changed.set()

    def drop_late(self) -> None:
        """Close what is late. To be called every second or so. Who waits for a place looks again."""
        now = self.clock.now()
        self._changed.set()
        for connection in tuple(self._open):
            if reason := connection.find_late(self.limits, now):
                self._drop(connection, reason)

    def take_dropped(self) -> Mapping[str, int]:
        """The counts of dropped connections since the last call."""
        taken, self.dropped = self.dropped, Counter()
        return taken

    def abort_all(self) -> None:
        """Close all: a reader that takes nothing would keep its connection open for ever."""
        for connection in tuple(self._open):
            connection.abort()

    def drop_waiting(self) -> bool:
        """Close one connection that waits for its client: descriptors are needed elsewhere. False when there is none."""
        return self._make_room(self._open)

    def _make_room(self, candidates: Collection[Connection]) -> bool:
        """Close the one that can best be spared: a half request first, of the address with the most.

        No idle connection is closed while a new one is not read yet: that is rather a half request, and the client of the
        idle one may just be sending its next request.
        """
        now = self.clock.now()
        spare = [connection for connection in candidates if connection.can_be_spared]
        has_half = any(connection.wait is Wait.HEAD for connection in spare)
        if spare and not has_half and any(connection.is_unread for connection in candidates):
            return False
        if not spare:
            spare = _find_excess(
                [connection for connection in candidates if connection.is_slow], len(candidates), SLOW_SHARE
            )
        if not spare:
            long = [connection for connection in candidates if now - connection.since > LONG_SECONDS]
            spare = _find_excess(long, len(candidates), LONG_SHARE)
        if not spare:
            return False
        self._drop(max(spare, key=self._rank), "room")
        return True

    def _rank(self, connection: Connection) -> tuple[bool, int, float]:
        """The highest one is closed first. Of those that wait it is the oldest, of those that are answered the newest.

        A half request comes before the number of its address: a flood from many addresses would push out the daemon's own
        connections to the engine, or a proxy's, which are many of one address.
        """
        age = self.clock.now() - connection.since
        return (
            connection.wait is Wait.HEAD, self._by_address[connection.address],
            -age if connection.wait is Wait.ANSWER else age,
        )  # fmt: skip

    def _drop(self, connection: Connection, reason: str) -> None:
        self.dropped[reason] += 1
        self.remove(connection)
        connection.abort()


def _find_excess(connections: list[Connection], places: int, share: float) -> list[Connection]:
    """The connections, if they take more than their share of the places."""
    return connections if len(connections) > share * places else []


def is_loopback(address: str) -> bool:
    """Whether an IP address is of this machine alone; a name is none."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def network_of(address: str) -> str:
    """The address as it is counted: IPv4 whole, IPv6 by the network of one subscriber."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    if parsed.is_loopback:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, _NETWORK_BITS), strict=False))
