"""Connections to the brokers of one Kafka cluster: every request ends in bounded time, every failure is a StoreError.

This uses aiokafka's connections, authentication, protocol and codecs, but not its producer and consumer. Those were tried
with a time-out around every call, against Kafka 4.1 on two cores shared with other work (300,000 frames of one trade,
medians of three, processor seconds). Reading alone cost 0.93 s instead of 0.23, the drain with the engine 3.34 s instead
of 2.47. They also broke promises of the port:
- They retry for ever in the background, and an idempotent batch never expires. With a killed broker, a reader raised no
  error within a minute. Each retry is logged, and closing without a broker hangs.
- After one record that was too large, the next append failed with OutOfOrderSequenceNumber.
- No public request returns topic ids, which `log_id` needs (see protocol.py).

Brokers must be of Kafka 3.0 or newer, which return the ids of topics.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError, for_code

from spotlightd.backoff import Backoff
from spotlightd.clients.kafka.protocol import ClusterMetadata, MetadataRequest, TopicDescription, parse_metadata
from spotlightd.errors import SettingsError, StoreError
from spotlightd.settings.describe import describe_path, describe_text
from spotlightd.settings.sources import BusSettings

T = TypeVar("T")
ANY = -1
PORT = 9092
CLOSE_SECONDS = 1.0
BACKOFF = Backoff(0.1, 0.5)
UNKNOWN_TOPIC = 3
USABLE = (0, 5)  # a topic that exists, and one whose leaders are not elected yet
# What aiokafka's connections raise: its own errors, the socket's, and what a failed handshake runs into.
CONNECTION_ERRORS = (KafkaError, OSError, EOFError, ValueError, AssertionError, NotImplementedError)


class UnknownTopicError(StoreError):
    """There is no such topic, or no such partition of it."""


class TransientError(StoreError):
    """A broker cannot answer now and will soon: a leader is being elected, a coordinator is starting."""


def connection_arguments(settings: BusSettings, password: str) -> Mapping[str, Any]:
    """The settings as arguments of aiokafka. SettingsError when they cannot be used."""
    arguments: dict[str, Any] = {
        "client_id": "spotlightd",
        "request_timeout_ms": round(settings.request_seconds * 1000),
        "security_protocol": settings.security,
    }
    if settings.security.endswith("SSL"):
        try:
            arguments["ssl_context"] = ssl.create_default_context(cafile=settings.ca_file or None)
        except OSError as problem:
            raise SettingsError(
                f"bus.ca_file {describe_path(settings.ca_file)} cannot be used: {problem.strerror}"
            ) from problem
    if settings.security.startswith("SASL"):
        if not password:
            raise SettingsError(f"bus.security is {settings.security}, but bus.password_file names no password")
        arguments |= {
            "sasl_mechanism": settings.sasl,
            "sasl_plain_username": settings.user,
            "sasl_plain_password": password,
        }
    return arguments


def parse_addresses(servers: Sequence[str]) -> list[tuple[str, int]]:
    """Host and port of each `host`, `host:port` or `[host]:port`. SettingsError when there is none, or no port."""
    addresses = []
    for server in servers:
        host, colon, port = server.rpartition(":")
        if not colon or (server.startswith("[") and server.endswith("]")):
            host, port = server, str(PORT)
        if not host or not port.isdecimal():
            raise SettingsError(f"bus.servers: {describe_text(server)} is not an address; write host:port")
        addresses.append((host.strip("[]"), int(port)))
    if not addresses:
        raise SettingsError("bus.servers names no broker; write host:port")
    return addresses


def error_from_code(servers: str, failure: str, code: int) -> StoreError:
    """The error to raise for a broker's error code: a TransientError when another try may succeed."""
    meaning = for_code(code)
    kind = TransientError if meaning.retriable else StoreError
    return kind(f"Kafka at {servers} {failure}: {meaning.__name__}")


async def retry_transient(attempt: Callable[[], Awaitable[T]], seconds: float) -> T:
    """The result of `attempt`, which is tried again for that long while it raises a TransientError."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    failures = 0
    while True:
        try:
            return await attempt()
        except TransientError:
            if loop.time() > end:
                raise
        failures += 1
        await asyncio.sleep(BACKOFF.pause(failures))


class Brokers:
    """Connections to brokers, opened at the first request and dropped when they fail; the next request opens new ones.

    A broker answers the requests of one connection in order. So a request that may wait there needs `Brokers` of its
    own.
    """

    def __init__(self, settings: BusSettings, password: str) -> None:
        self.seconds = settings.request_seconds
        self.servers = ", ".join(settings.servers)
        self._arguments = connection_arguments(settings, password)
        self._seeds = parse_addresses(settings.servers)
        self._nodes: Mapping[int, tuple[str, int]] = {}
        self._connections: dict[int, Any] = {}
        self._connecting = asyncio.Lock()

    async def send(self, request: Any, node: int = ANY) -> Any:
        """The response of that broker, or of any. StoreError when there is none within `seconds`."""
        connection = None
        try:
            async with asyncio.timeout(self.seconds):
                connection = await self._connect(node)
                return await connection.send(request)
        except TimeoutError as problem:
            self._drop(node, connection)
            raise StoreError(f"Kafka at {self.servers} did not answer within {self.seconds:g} s") from problem
        except CONNECTION_ERRORS as problem:
            self._drop(node, connection)
            raise StoreError(f"Kafka at {self.servers} cannot be used: {describe_error(problem)}") from problem

    async def fetch_metadata(self, *topics: str) -> ClusterMetadata:
        """The brokers and these topics, as they are now."""
        metadata = parse_metadata(await self.send(MetadataRequest(topics)))
        self._nodes = metadata.nodes
        return metadata

    async def describe_topic(self, name: str) -> TopicDescription | None:
        """The topic as it is now, or None when there is none."""
        topic = (await self.fetch_metadata(name)).topics[name]
        if topic.error == UNKNOWN_TOPIC:
            return None
        if topic.error not in USABLE:
            raise error_from_code(self.servers, f"did not describe the topic {name}", topic.error)
        return topic

    async def close(self) -> None:
        """Close all connections; no broker is waited for longer than CLOSE_SECONDS."""
        closing = [self._abort(connection) for connection in self._connections.values()]
        self._connections.clear()
        if waits := [future for future in closing if future is not None]:
            await asyncio.wait(waits, timeout=CLOSE_SECONDS)

    async def _connect(self, node: int) -> Any:
        async with self._connecting:
            connection = self._connections.get(node)
            if connection is not None and connection.connected():
                return connection
            self._drop(node, connection)
            if node != ANY and node not in self._nodes:
                raise KafkaError(f"the cluster has no broker {node} now")
            addresses = [self._nodes[node]] if node != ANY else dict.fromkeys([*self._seeds, *self._nodes.values()])
            self._connections[node] = await self._connect_first(list(addresses))
            return self._connections[node]

    async def _connect_first(self, addresses: Sequence[tuple[str, int]]) -> Any:
        """A connection to the first address that accepts one; each is tried for its share of the time."""
        problem: Exception = KafkaError("no address")
        for host, port in addresses:
            try:
                async with asyncio.timeout(self.seconds / len(addresses)):
                    return await create_conn(host, port, **self._arguments)
            except CONNECTION_ERRORS as error:  # TimeoutError is an OSError
                problem = error
        raise problem

    def _drop(self, node: int, connection: Any) -> None:
        if connection is not None and self._connections.get(node) is connection:
            del self._connections[node]
            self._abort(connection)

    @staticmethod
    def _abort(connection: Any) -> asyncio.Future[None] | None:
        """Close at once: an orderly close waits for ever for a broker that does not read."""
        if (writer := connection._writer) is not None:  # noqa: SLF001  there is no other way to its transport
            writer.transport.abort()
        closed: asyncio.Future[None] | None = connection.close()
        return closed


def describe_error(problem: BaseException) -> str:
    """The text of an error, or its name when it has none."""
    return str(problem) or type(problem).__name__
