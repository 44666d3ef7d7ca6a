"""Connections to the brokers of one Kafka cluster: every request ends in bounded time, every failure is a StoreError.

aiokafka's connections, authentication, protocol and codecs are used, and not its producer and consumer. Those retry
for ever in the background (an idempotent batch never expires), have calls without a time-out, flood the log in an
outage, hang when they are closed without a broker, and make so many Python objects of each record that is read that they read
at a sixth of the rate. Brokers are of Kafka 3.0 or newer, which tell the ids of topics.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError, for_code

from spotlightd.clients.kafka.protocol import Cluster, Described, MetadataRequest, cluster
from spotlightd.errors import SettingsError, StoreError
from spotlightd.settings.sources import BusSettings

T = TypeVar("T")
ANY = -1
PORT = 9092
CLOSE_SECONDS = 1.0
PAUSE_SECONDS = 0.1  # between two tries
UNKNOWN_TOPIC = 3
UNFINISHED = (0, 5)  # a topic that is there, and one whose leaders are not chosen yet
# What aiokafka's connections raise: its own errors, the socket's, and what a broken handshake trips over.
TROUBLE = (KafkaError, OSError, EOFError, ValueError, AssertionError, NotImplementedError)


class AbsentError(StoreError):
    """There is no such topic, or no such partition of it."""


class PassingError(StoreError):
    """A broker cannot answer now and will soon: a leader is being chosen, a coordinator is starting."""


def arguments(settings: BusSettings, password: str) -> Mapping[str, Any]:
    """The settings in aiokafka's words. SettingsError when they cannot be used."""
    told: dict[str, Any] = {
        "client_id": "spotlightd",
        "request_timeout_ms": round(settings.request_seconds * 1000),
        "security_protocol": settings.security,
    }
    if settings.security.endswith("SSL"):
        try:
            told["ssl_context"] = ssl.create_default_context(cafile=settings.ca_file or None)
        except OSError as problem:
            raise SettingsError(f"bus.ca_file {settings.ca_file} cannot be used: {problem}") from problem
    if settings.security.startswith("SASL"):
        if not password:
            raise SettingsError(f"bus.password_file names no password, and bus.security is {settings.security}")
        told |= {
            "sasl_mechanism": settings.sasl,
            "sasl_plain_username": settings.user,
            "sasl_plain_password": password,
        }
    return told


def addresses(servers: Sequence[str]) -> list[tuple[str, int]]:
    """Host and port of each `host`, `host:port` or `[host]:port`. SettingsError when there is none, or no port."""
    found = []
    for server in servers:
        host, colon, port = server.rpartition(":")
        if not colon or (server.startswith("[") and server.endswith("]")):
            host, port = server, str(PORT)
        if not host or not port.isdecimal():
            raise SettingsError(f"bus.servers: {server!r} is no address; write host:port")
        found.append((host.strip("[]"), int(port)))
    if not found:
        raise SettingsError("bus.servers names no broker; write host:port")
    return found


def refused(named: str, act: str, code: int) -> StoreError:
    """What a broker's error code means, as an error to raise: a PassingError when it is worth another try."""
    meaning = for_code(code)
    kind = PassingError if meaning.retriable else StoreError
    return kind(f"Kafka at {named} {act}: {meaning.__name__}")


async def settled(attempt: Callable[[], Awaitable[T]], seconds: float) -> T:
    """What that answers, tried again while a PassingError comes and there is time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        try:
            return await attempt()
        except PassingError:
            if loop.time() > end:
                raise
        await pause()


async def pause() -> None:
    await asyncio.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311  jitter


class Brokers:
    """Connections, made when they are needed and dropped when they fail; the next request makes them anew.

    A broker answers the requests of one connection in order, so whatever may wait there has `Brokers` of its own.
    """

    def __init__(self, settings: BusSettings, password: str) -> None:
        self.seconds = settings.request_seconds
        self.named = ", ".join(settings.servers)
        self._arguments = arguments(settings, password)
        self._seeds = addresses(settings.servers)
        self._nodes: Mapping[int, tuple[str, int]] = {}
        self._connections: dict[int, Any] = {}
        self._connecting = asyncio.Lock()

    async def ask(self, request: Any, node: int = ANY) -> Any:
        """The answer of that broker, or of any. StoreError when there is none within `seconds`."""
        connection = None
        try:
            async with asyncio.timeout(self.seconds):
                connection = await self._connected(node)
                return await connection.send(request)
        except TimeoutError as problem:
            self._drop(node, connection)
            raise StoreError(f"Kafka at {self.named} did not answer within {self.seconds:g} s") from problem
        except TROUBLE as problem:
            self._drop(node, connection)
            raise StoreError(f"Kafka at {self.named} cannot be used: {said(problem)}") from problem

    async def cluster(self, *topics: str) -> Cluster:
        """The brokers and these topics, as they are now."""
        found = cluster(await self.ask(MetadataRequest(topics)))
        self._nodes = found.nodes
        return found

    async def topic(self, name: str) -> Described | None:
        """The topic as it is now, or None when there is none."""
        found = (await self.cluster(name)).topics[name]
        if found.error == UNKNOWN_TOPIC:
            return None
        if found.error not in UNFINISHED:
            raise refused(self.named, f"does not tell about the topic {name}", found.error)
        return found

    async def close(self) -> None:
        """Hang up, waiting for nobody longer than CLOSE_SECONDS."""
        hung = [self._hung_up(connection) for connection in self._connections.values()]
        self._connections.clear()
        if waits := [future for future in hung if future is not None]:
            await asyncio.wait(waits, timeout=CLOSE_SECONDS)

    async def _connected(self, node: int) -> Any:
        async with self._connecting:
            connection = self._connections.get(node)
            if connection is not None and connection.connected():
                return connection
            self._drop(node, connection)
            if node != ANY and node not in self._nodes:
                raise KafkaError(f"the cluster has no broker {node} now")
            places = [self._nodes[node]] if node != ANY else dict.fromkeys([*self._seeds, *self._nodes.values()])
            self._connections[node] = await self._reached(list(places))
            return self._connections[node]

    async def _reached(self, places: Sequence[tuple[str, int]]) -> Any:
        """A connection to the first place that takes one, each tried for its share of the time."""
        problem: Exception = KafkaError("no address")
        for host, port in places:
            try:
                async with asyncio.timeout(self.seconds / len(places)):
                    return await create_conn(host, port, **self._arguments)
            except TROUBLE as refused:  # TimeoutError is an OSError
                problem = refused
        raise problem

    def _drop(self, node: int, connection: Any) -> None:
        if connection is not None and self._connections.get(node) is connection:
            del self._connections[node]
            self._hung_up(connection)

    @staticmethod
    def _hung_up(connection: Any) -> asyncio.Future[None] | None:
        """Ended at once: a broker that does not read would keep an orderly end waiting for ever."""
        if (writer := connection._writer) is not None:  # noqa: SLF001  there is no other way to its transport
            writer.transport.abort()
        closed: asyncio.Future[None] | None = connection.close()
        return closed


def said(problem: BaseException) -> str:
    return str(problem) or type(problem).__name__
