"""Which connections are open, which are late, and which makes room: by a clock that is set by hand."""

from __future__ import annotations

import asyncio
import resource
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from spotlightd.backoff import Clock
from spotlightd.server.connections import LONG_SECONDS, SEND_BYTES, Connection, Connections, network_of
from spotlightd.server.limits import LEAST_CONNECTIONS, LEAST_RESERVE, ConnectionLimits, count_affordable, fit_limits

HERE, THERE = "192.0.2.1", "198.51.100.7"


@dataclass
class Transport:
    """What a connection needs of asyncio's."""

    unsent: int = 0
    reads: bool = True
    is_aborted: bool = False  # as seen from the client

    def abort(self) -> None:
        self.is_aborted = True

    def is_reading(self) -> bool:
        return self.reads

    def get_write_buffer_size(self) -> int:
        return self.unsent


@dataclass
class Body:
    ended: bool = True

    def is_eof(self) -> bool:
        return self.ended


@dataclass
class Server:
    """Connections, a clock, and the transport of each connection."""

    limits: ConnectionLimits
    time: float = 0.0
    transports: dict[Connection, Transport] = field(default_factory=dict)
    connections: Connections = field(init=False)

    def __post_init__(self) -> None:
        self.connections = Connections(self.limits, Clock(now=lambda: self.time))

    async def connect(self, address: str = HERE) -> Connection:
        """A connection that has sent no whole request; each comes a moment after the one before."""
        self.time += 0.1
        connection = await self.connections.admit(address)
        assert connection is not None
        self.transports[connection] = transport = Transport()
        connection.attach(cast("Any", transport))
        self.connections.note_read(connection)
        return connection

    async def ask(self, address: str = HERE, body: Body | None = None) -> Connection:
        """A connection whose request is being answered."""
        connection = await self.connect(address)
        self.connections.begin_answer(connection, body or Body())
        return connection

    def stop_reading(self, connection: Connection, unsent: int) -> Transport:
        transport = self.transports[connection]
        transport.unsent = unsent
        self.connections.note_slow(connection, is_slow=True)
        return transport

    def pass_time(self, seconds: float) -> None:
        """Seconds pass, in each of which late connections are closed."""
        for _ in range(int(seconds)):
            self.time += 1.0
            self.connections.drop_late()

    def open(self, connection: Connection) -> bool:
        return not self.transports[connection].is_aborted


def server(most: int = 4, address: int | None = None, **seconds: float) -> Server:
    return Server(ConnectionLimits(most, address or most, **seconds))


# -- room --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("descriptors", [256, 512, 1024, 4096, 65_536, resource.RLIM_INFINITY])
def test_connections_leave_descriptors_for_stores_and_sources(descriptors: int) -> None:
    connections = count_affordable(descriptors)
    assert connections >= LEAST_CONNECTIONS
    if descriptors != resource.RLIM_INFINITY:
        assert 2 * connections + max(LEAST_RESERVE, descriptors // 4) <= descriptors


def test_a_server_has_no_more_connections_than_its_setting() -> None:
    assert fit_limits(20).connections == 20
    assert fit_limits(20).address_connections == 10


async def test_the_oldest_half_request_makes_room() -> None:
    world = server(most=3)
    answered = await world.ask()
    first, second = await world.connect(), await world.connect()
    await world.connect()
    assert (world.open(answered), world.open(first), world.open(second)) == (True, False, True)
    assert world.connections.dropped["room"] == 1


async def test_a_connection_that_makes_room_before_it_is_open_is_closed() -> None:
    world = server(most=1)
    early = await world.connections.admit(HERE)
    assert early is not None
    world.connections.note_read(early)
    await world.connect()
    transport = Transport()
    early.attach(cast("Any", transport))
    assert transport.is_aborted


async def test_who_waits_for_a_place_gets_that_of_an_answer_that_has_become_long() -> None:
    world = server(most=2)
    for _ in range(2):
        await world.ask()
    waiting = asyncio.create_task(world.connect())
    await asyncio.sleep(0)
    assert not waiting.done()
    world.pass_time(2 * LONG_SECONDS)
    await asyncio.wait_for(waiting, 5)


async def test_a_request_that_has_not_been_read_yet_is_not_closed_for_another() -> None:
    world = server(most=1)
    fresh = await world.connections.admit(HERE)
    assert fresh is not None
    waiting = asyncio.create_task(world.connections.admit(HERE))
    await asyncio.sleep(0)
    assert not waiting.done()
    world.connections.note_read(fresh)
    assert await asyncio.wait_for(waiting, 5)
    assert fresh.is_aborted


async def test_a_half_request_makes_room_before_an_idle_connection() -> None:
    world = server(most=2)
    idle = await world.ask()
    world.connections.end_answer(idle)
    half = await world.connect()
    await world.connect()
    assert (world.open(idle), world.open(half)) == (True, False)


async def test_half_requests_of_many_addresses_do_not_push_out_idle_connections_of_one() -> None:
    world = server(most=8)
    own = [await world.ask(HERE) for _ in range(3)]
    for connection in own:
        world.connections.end_answer(connection)
    for number in range(20):
        await world.connect(f"127.1.0.{number}")
    assert all(world.open(connection) for connection in own)


async def test_an_idle_connection_stays_while_a_new_one_may_be_a_half_request() -> None:
    world = server(most=2)
    idle = await world.ask()
    world.connections.end_answer(idle)
    fresh = await world.connections.admit(HERE)
    assert fresh is not None
    waiting = asyncio.create_task(world.connections.admit(HERE))
    await asyncio.sleep(0)
    assert not waiting.done()
    world.connections.note_read(fresh)
    assert await asyncio.wait_for(waiting, 5)
    assert (world.open(idle), fresh.is_aborted) == (True, True)


async def test_room_is_made_by_the_address_that_has_the_most() -> None:
    world = server(most=4)
    other = await world.connect(THERE)
    crowd = [await world.connect(HERE) for _ in range(3)]
    await world.connect("203.0.113.9")
    assert world.open(other)
    assert [world.open(connection) for connection in crowd] == [False, True, True]


async def test_a_new_connection_waits_while_all_others_are_answered() -> None:
    world = server(most=2)
    first, _ = await world.ask(), await world.ask()
    waiting = asyncio.create_task(world.connect())
    await asyncio.sleep(0)
    assert not waiting.done()
    world.connections.end_answer(first)
    await asyncio.wait_for(waiting, 5)
    assert not world.open(first)
    assert len(world.connections) == 2


async def test_an_address_with_too_many_answers_is_refused_and_others_are_not() -> None:
    world = server(most=10, address=2)
    for _ in range(2):
        await world.ask(HERE)
    assert await world.connections.admit(HERE) is None
    assert world.connections.dropped["address"] == 1
    await world.ask(THERE)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_proxy_on_this_machine_may_have_all_places(address: str) -> None:
    world = server(most=3, address=1)
    for _ in range(3):
        await world.ask(address)
    assert not world.connections.dropped


async def test_an_address_makes_room_for_itself() -> None:
    world = server(most=10, address=2)
    half = await world.connect(HERE)
    await world.ask(HERE)
    await world.ask(HERE)
    assert not world.open(half)


async def test_readers_that_take_nothing_have_a_quarter_of_the_places() -> None:
    world = server(most=8)
    answered = [await world.ask() for _ in range(8)]
    for connection in answered[:2]:
        world.stop_reading(connection, 1)
    assert not world.connections.drop_waiting()
    world.stop_reading(answered[2], 1)
    assert world.connections.drop_waiting()
    assert [world.open(connection) for connection in answered[:3]] == [True, True, False]


async def test_answers_that_take_long_leave_a_quarter_of_the_places() -> None:
    world = server(most=8)
    long = [await world.ask() for _ in range(7)]
    world.time += 2 * LONG_SECONDS
    await world.ask()
    await world.ask()
    assert [world.open(connection) for connection in long] == [True] * 6 + [False]


# -- time --------------------------------------------------------------------------------------------------------------


async def test_a_head_that_never_ends_closes_its_connection() -> None:
    world = server(head_seconds=10)
    half = await world.connect()
    world.pass_time(9)
    world.connections.note_bytes(half)  # a byte now and then buys no time
    assert world.open(half)
    world.pass_time(2)
    assert not world.open(half)
    assert world.connections.take_dropped() == {"head": 1}
    assert world.connections.take_dropped() == {}


async def test_a_second_head_has_its_own_time() -> None:
    world = server(head_seconds=10, idle_seconds=75)
    connection = await world.ask()
    world.connections.end_answer(connection)
    world.pass_time(60)
    world.connections.note_bytes(connection)
    world.pass_time(9)
    assert world.open(connection)
    world.pass_time(2)
    assert not world.open(connection)


async def test_an_idle_connection_is_closed_and_an_answered_one_is_not() -> None:
    world = server(idle_seconds=75)
    idle, answered = await world.ask(), await world.ask()
    world.connections.end_answer(idle)
    world.pass_time(76)
    assert (world.open(idle), world.open(answered)) == (False, True)
    assert world.connections.dropped == {"idle": 1}


async def test_a_body_that_stops_closes_its_connection() -> None:
    world = server(body_seconds=30)
    body = Body(ended=False)
    connection = await world.ask(body=body)
    world.pass_time(20)
    world.connections.note_bytes(connection)
    world.pass_time(29)
    assert world.open(connection)
    world.pass_time(2)
    assert not world.open(connection)


async def test_a_body_that_we_do_not_take_is_not_late() -> None:
    world = server(body_seconds=30)
    paused = await world.ask(body=Body(ended=False))
    world.transports[paused].reads = False
    world.pass_time(100)
    assert world.open(paused)
    world.transports[paused].reads = True
    world.pass_time(31)
    assert not world.open(paused)


async def test_a_reader_that_takes_next_to_nothing_is_disconnected() -> None:
    world = server(send_seconds=60)
    stalled, dripping, reading = [await world.ask() for _ in range(3)]
    for connection in (stalled, dripping, reading):
        world.stop_reading(connection, 10 * SEND_BYTES)
    for _ in range(3):
        world.pass_time(30)
        world.transports[dripping].unsent -= 100
        world.transports[reading].unsent -= SEND_BYTES
    assert [world.open(connection) for connection in (stalled, dripping, reading)] == [False, False, True]
    assert world.connections.dropped == {"send": 2}


async def test_a_reader_that_goes_on_is_forgiven() -> None:
    world = server(send_seconds=60)
    connection = await world.ask()
    for _ in range(3):
        world.stop_reading(connection, SEND_BYTES)
        world.pass_time(50)
        world.connections.note_slow(connection, is_slow=False)
    assert world.open(connection)


# -- addresses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::1"),
        ("", ""),
    ],
)
def test_an_address_of_ipv6_counts_with_its_network(address: str, network: str) -> None:
    assert network_of(address) == network
