"""Wires streams: the bus, the spool before it, and the flows of each feed, from the socket to the table.

Embedded, the spool's log is the bus. With Kafka it is a file of its own, from which frames are forwarded, and in which
they stay until they are durable in the warehouse: a broker's acknowledgement is not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from spotlightd.clients.http.websocket import connecting
from spotlightd.clients.kafka.bus import Kafka
from spotlightd.clients.locallog.bus import LocalLog
from spotlightd.clients.locallog.spool import LogSpool
from spotlightd.clients.locallog.view import LogView
from spotlightd.errors import SettingsError
from spotlightd.flows.stream.context import DrainContext
from spotlightd.flows.stream.decode import Decoder, make_decoder
from spotlightd.flows.stream.drain import Drain
from spotlightd.flows.stream.forward import Forwarder
from spotlightd.flows.stream.listen import Listener
from spotlightd.flows.stream.parts import Parts
from spotlightd.flows.stream.recovery import received_at
from spotlightd.flows.stream.replay import Replay, ReplayRunner
from spotlightd.flows.supervise import Flow
from spotlightd.log import logger
from spotlightd.model.offsets import DrainState, FeedState
from spotlightd.model.stream import Feed, Stream
from spotlightd.ports.bus import Bus
from spotlightd.ports.ledger import Positions
from spotlightd.ports.metrics import Metrics
from spotlightd.ports.parser import Parser
from spotlightd.runtime.access import read_secret
from spotlightd.runtime.instance import Instance
from spotlightd.settings.settings import Settings
from spotlightd.workers.parser import ChildParser

BUS_FILE = "bus.sqlite"
SPOOL_FILE = "spool.sqlite"


@dataclass(frozen=True, slots=True)
class OpenStreams:
    """Everything about streams that is open. `movers` are the flows that go on until the listeners have stopped."""

    bus: Bus
    positions: Positions
    listening: Mapping[str, Listener]
    draining: Mapping[str, Drain]
    movers: Mapping[str, Flow]
    listeners: Mapping[str, Flow]

    def feeds(self) -> tuple[FeedState, ...]:
        return tuple(one.state() for one in self.listening.values())

    def drains(self) -> tuple[DrainState, ...]:
        return tuple(state for one in self.draining.values() for state in one.states())


def select_streams(streams: Sequence[Stream], settings: Settings) -> tuple[Stream, ...]:
    """Those that are to be listened to. SettingsError for a name that is none, and for one without symbols or its key."""
    told = settings.streams
    names = told.enabled or list(told.symbols)
    known = {one.name: one for one in streams}
    unknown = sorted({*names, *told.symbols, *told.key_files, *told.addresses, *told.retention_hours} - set(known))
    if unknown:
        raise SettingsError(f"section [streams] names no stream: {', '.join(unknown)}; there are: {', '.join(known)}")
    for name in names:
        if not told.symbols.get(name):
            raise SettingsError(f"setting streams.symbols has nothing for {name} to subscribe to")
    return tuple(with_retention(known[name], settings) for name in names if not known[name].suspended)


def with_retention(source: Stream, settings: Settings) -> Stream:
    """With the bus's retention as the settings say. SettingsError for one that keeps nothing."""
    hours = settings.streams.retention_hours.get(source.name, source.retention_hours)
    if hours < 1:
        raise SettingsError(
            f"setting streams.retention_hours.{source.name} must be at least 1: what is not drained yet waits there"
        )
    return replace(source, retention_hours=hours)


def make_feed(source: Stream, settings: Settings) -> Feed:
    """What the settings say about a stream, its key read from its file."""
    told = settings.streams
    file = told.key_files.get(source.name, "")
    needs = source.key_required and source.name not in told.addresses
    key = read_secret(file, f"streams.key_files.{source.name}") if file or needs else ""
    return Feed(tuple(told.symbols[source.name]), key)


def make_feeds(sources: Sequence[Stream], settings: Settings) -> Mapping[str, Feed]:
    """By stream. SettingsError when two have one key: a venue ends the first connection when it sees the second."""
    found: dict[str, Feed] = {}
    for source in sources:
        own = make_feed(source, settings)
        other = next((name for name, one in found.items() if own.key and one.key == own.key), None)
        if other:
            raise SettingsError(
                f"streams {other} and {source.name} have the same key, and a key is good for one connection: give"
                f" streams.key_files.{source.name} a key of its own, or take one of them out of streams.enabled"
            )
        found[source.name] = own
    return found


@asynccontextmanager
async def open_bus(settings: Settings) -> AsyncIterator[Bus]:
    """The bus for those who only look, beside a running daemon or without one."""
    if settings.bus.kind == "kafka":
        async with Kafka(settings.bus, read_bus_password(settings)) as kafka:
            yield kafka
    else:
        async with LogView(settings.state_dir / BUS_FILE) as view:
            yield view


def read_bus_password(settings: Settings) -> str:
    """Of the Kafka cluster, where it wants one."""
    asks = settings.bus.kind == "kafka" and settings.bus.security.startswith("SASL")
    return read_secret(settings.bus.password_file, "bus.password_file") if asks else ""


@asynccontextmanager
async def open_streams(instance: Instance, metrics: Metrics) -> AsyncIterator[OpenStreams]:
    """Open what streams need. The flows are run by the daemon, listeners inside of movers."""
    settings, positions = instance.settings, instance.positions
    sources = select_streams(instance.catalog.streams, settings)
    feeds = make_feeds(sources, settings)
    own = settings.bus.kind == "embedded"
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(LocalLog(settings.state_dir / (BUS_FILE if own else SPOOL_FILE)))
        bus: Bus = log
        if not own:
            bus = await stack.enter_async_context(Kafka(settings.bus, read_bus_password(settings)))
        topics = [source.topic for source in sources]
        priorities = {source.name: source.priority for source in sources}
        spool = await stack.enter_async_context(LogSpool(log, settings.streams, topics, priorities, is_bus=own))
        context = instance.context
        parts = Parts(context.ledger, context.publications, positions)
        forwarding = {} if own else {one.name: Forwarder(one, log, bus, metrics) for one in sources}

        async def trim(source: Stream, drained: Mapping[int, int]) -> None:
            await log.retain(source.topic, drained)

        means = DrainContext(
            bus, spool, context.warehouse, positions, parts, metrics, settings.streams,
            trim=trim if own else None, resend=None if own else lambda name: forwarding[name].resend(), gate=context.gate,
            archives=instance.archives,
        )  # fmt: skip
        parser = await _parser(stack, instance, sources)
        replays = {one.name: make_replay(one, instance, parts, parser) for one in instance.catalog.streams}
        draining = {source.name: Drain(source, means, replays[source.name]) for source in sources}
        listening = {
            source.name: Listener(
                source, feeds[source.name], connecting, spool, positions, metrics, settings.streams,
                last_received=await _last_received(source, log, positions),
            )
            for source in sources
        }  # fmt: skip
        movers: dict[str, Flow] = {"replay": ReplayRunner(context.ledger, list(replays.values()), context.gate)}
        movers |= {f"drain {name}": flow for name, flow in draining.items()}
        movers |= {f"forward {name}": flow for name, flow in forwarding.items()}
        listeners: dict[str, Flow] = {f"listen {name}": flow for name, flow in listening.items()}
        yield OpenStreams(bus, positions, listening, draining, movers, listeners)


def make_replay(source: Stream, instance: Instance, parts: Parts, parser: Parser | None = None) -> Replay:
    """The replay of a stream, for the daemon and for a command without one."""
    context, decoder = instance.context, _decoder(source, instance, parser)
    return Replay(source, context.ledger, context.warehouse, decoder, context.publications, instance.positions, parts)


def _decoder(source: Stream, instance: Instance, parser: Parser | None) -> Decoder:
    context = instance.context
    return make_decoder(
        source, context.warehouse, parser or context.parser, instance.settings.state_dir, instance.archives
    )


async def _parser(stack: AsyncExitStack, instance: Instance, sources: Sequence[Stream]) -> Parser | None:
    """A child of their own for streams that Python decodes: they must not wait for a long document."""
    if all(source.decode for source in sources):
        return None
    limits, places = instance.settings.parser, instance.catalog.places
    return await stack.enter_async_context(ChildParser(limits, places, logger(flow="stream parser").info))


async def _last_received(source: Stream, log: LocalLog, positions: Positions) -> datetime | None:
    """When the newest frame was received that a start finds: in the log before the bus, or drained long ago."""
    await log.ensure(source.topic)
    keys = [one.key for one in (await positions.positions(source.name)).values() if one.key]
    for at, ends in (await log.ends(source.name)).items():
        if ends.end > ends.start:
            keys.append((await log.peek(source.name, at, ends.end - 1, most=1)).key(0))
    return max(map(received_at, keys), default=None)
