"""Wires streams: the bus, the spool before it, and the flows of each feed, from the socket to the table.

With the embedded bus, the spool's log is the bus. With Kafka the spool is a separate file. Frames are forwarded from it,
and stay in it until they are durable in the warehouse: the acknowledgement of a broker does not make them durable.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from spotlightd.audience import Audience
from spotlightd.clients.http.websocket import open_websocket
from spotlightd.clients.kafka.bus import Kafka
from spotlightd.clients.locallog.bus import LocalLog
from spotlightd.clients.locallog.spool import LogSpool
from spotlightd.clients.locallog.view import LogView
from spotlightd.errors import SettingsError
from spotlightd.flows.stream.context import DrainContext
from spotlightd.flows.stream.decode import make_decoder
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
from spotlightd.runtime.instance import INBOXES, Instance
from spotlightd.settings.describe import describe_names
from spotlightd.settings.settings import Settings
from spotlightd.workers.parser import ChildParser

BUS_FILE = "bus.sqlite"
SPOOL_FILE = "spool.sqlite"


@dataclass(frozen=True, slots=True)
class OpenStreams:
    """The open clients and the flows of all streams. `movers` are the flows that run until the listeners have stopped."""

    bus: Bus
    positions: Positions
    listening: Mapping[str, Listener]
    draining: Mapping[str, Drain]
    movers: Mapping[str, Flow]
    listeners: Mapping[str, Flow]
    parser: ChildParser | None = None
    audience: Audience = field(default_factory=Audience)

    def feeds(self) -> tuple[FeedState, ...]:
        return tuple(
            replace(
                listener.state(),
                clock_offset_seconds=self.draining[name].clock.offset_seconds,
                is_clock_off=self.draining[name].clock.is_off,
            )
            for name, listener in self.listening.items()
        )

    def drains(self) -> tuple[DrainState, ...]:
        return tuple(state for drain in self.draining.values() for state in drain.states())


def select_streams(streams: Sequence[Stream], settings: Settings) -> tuple[Stream, ...]:
    """The streams to listen to. SettingsError for an unknown name, and for a stream without symbols."""
    section = settings.streams
    names = section.enabled or list(section.symbols)
    known = {stream.name: stream for stream in streams}
    named = {*names, *section.symbols, *section.key_files, *section.addresses, *section.retention_hours}
    if unknown := named - set(known):
        raise SettingsError(
            f"section [streams] names no stream: {describe_names(unknown, known)}; there are: {', '.join(known)}"
        )
    for name in names:
        if not section.symbols.get(name):
            raise SettingsError(f"setting streams.symbols has nothing for {name} to subscribe to")
    return tuple(with_retention(known[name], settings) for name in names if not known[name].suspended)


def with_retention(source: Stream, settings: Settings) -> Stream:
    """The stream with the bus retention of the settings. SettingsError for less than an hour."""
    hours = settings.streams.retention_hours.get(source.name, source.retention_hours)
    if hours < 1:
        raise SettingsError(
            f"setting streams.retention_hours.{source.name} must be at least 1: messages wait on the bus until they are"
            " drained"
        )
    return replace(source, retention_hours=hours)


def make_feed(source: Stream, settings: Settings) -> Feed:
    """The symbols of a stream, and its key, read from its file."""
    section = settings.streams
    file = section.key_files.get(source.name, "")
    needs_key = source.key_required and source.name not in section.addresses
    key = read_secret(file, f"streams.key_files.{source.name}") if file or needs_key else ""
    return Feed(tuple(section.symbols[source.name]), key)


def make_feeds(sources: Sequence[Stream], settings: Settings) -> Mapping[str, Feed]:
    """By stream. SettingsError when two have the same key: a venue ends the first connection when it sees the second."""
    feeds: dict[str, Feed] = {}
    for source in sources:
        feed = make_feed(source, settings)
        other = next((name for name, earlier in feeds.items() if feed.key and earlier.key == feed.key), None)
        if other:
            raise SettingsError(
                f"streams {other} and {source.name} have the same key, and a key is good for one connection: give"
                f" streams.key_files.{source.name} a key of its own, or take one of them out of streams.enabled"
            )
        feeds[source.name] = feed
    return feeds


@asynccontextmanager
async def open_bus(settings: Settings) -> AsyncIterator[Bus]:
    """The bus for a command that only reads, beside a running daemon or without one."""
    if settings.bus.kind == "kafka":
        async with Kafka(settings.bus, read_bus_password(settings)) as kafka:
            yield kafka
    else:
        async with LogView(settings.state_dir / BUS_FILE) as view:
            yield view


def read_bus_password(settings: Settings) -> str:
    """The password at the Kafka cluster; empty where none is needed."""
    needs_password = settings.bus.kind == "kafka" and settings.bus.security.startswith("SASL")
    return read_secret(settings.bus.password_file, "bus.password_file") if needs_password else ""


@asynccontextmanager
async def open_streams(instance: Instance, metrics: Metrics) -> AsyncIterator[OpenStreams]:
    """Open what the streams need. The daemon runs the flows: the listeners start after the movers and stop before them."""
    settings, positions = instance.settings, instance.positions
    sources = select_streams(instance.catalog.streams, settings)
    feeds = make_feeds(sources, settings)
    is_embedded = settings.bus.kind == "embedded"
    async with AsyncExitStack() as stack:
        file = settings.state_dir / (BUS_FILE if is_embedded else SPOOL_FILE)
        log = await stack.enter_async_context(LocalLog(file))
        bus: Bus = log
        if not is_embedded:
            bus = await stack.enter_async_context(Kafka(settings.bus, read_bus_password(settings)))
        topics = [source.topic for source in sources]
        priorities = {source.name: source.priority for source in sources}
        spool = await stack.enter_async_context(LogSpool(log, settings.streams, topics, priorities, is_bus=is_embedded))
        audience = Audience()
        parts = Parts(instance.ledger, instance.publications, positions)
        forwarders = {} if is_embedded else {source.name: Forwarder(source, log, bus, metrics) for source in sources}

        async def trim(source: Stream, drained: Mapping[int, int]) -> None:
            await log.retain(source.topic, drained)

        context = DrainContext(
            bus, spool, instance.warehouse, positions, parts, metrics, settings.streams,
            trim=trim if is_embedded else None,
            resend=None if is_embedded else lambda name: forwarders[name].resend(),
            gate=instance.gate, archives=instance.archives, audience=audience,
        )  # fmt: skip
        parser = await _open_parser(stack, instance, sources)
        replays = {stream.name: make_replay(stream, instance, parts, parser) for stream in instance.catalog.streams}
        draining = {source.name: Drain(source, context, replays[source.name]) for source in sources}
        listening = {
            source.name: Listener(
                source, feeds[source.name], open_websocket, spool, positions, metrics, settings.streams,
                last_received=await _find_last_received(source, log, positions),
            )
            for source in sources
        }  # fmt: skip
        movers: dict[str, Flow] = {"replay": ReplayRunner(instance.ledger, list(replays.values()), instance.gate)}
        movers |= {f"drain {name}": flow for name, flow in draining.items()}
        movers |= {f"forward {name}": flow for name, flow in forwarders.items()}
        listeners: dict[str, Flow] = {f"listen {name}": flow for name, flow in listening.items()}
        yield OpenStreams(bus, positions, listening, draining, movers, listeners, parser, audience)


def make_replay(source: Stream, instance: Instance, parts: Parts, parser: Parser | None = None) -> Replay:
    """The replay of a stream, for the daemon and for a command without one."""
    decoder = make_decoder(
        source, instance.warehouse, parser or instance.parser, instance.settings.state_dir, instance.archives
    )
    return Replay(
        source, instance.ledger, instance.warehouse, decoder, instance.publications, instance.positions, parts
    )


async def _open_parser(stack: AsyncExitStack, instance: Instance, sources: Sequence[Stream]) -> ChildParser | None:
    """A separate child for streams that Python decodes, so that they do not wait for a long document."""
    if all(source.decode for source in sources):
        return None
    limits, places = instance.settings.parser, instance.catalog.places
    inbox = instance.settings.state_dir.absolute() / INBOXES / "frames"
    return await stack.enter_async_context(ChildParser(limits, places, logger(flow="stream parser").info, inbox))


async def _find_last_received(source: Stream, log: LocalLog, positions: Positions) -> datetime | None:
    """When the newest known frame was received, whether it is still in the log or was drained long ago."""
    await log.ensure(source.topic)
    keys = [position.key for position in (await positions.positions(source.name)).values() if position.key]
    for partition, ends in (await log.ends(source.name)).items():
        if ends.end > ends.start:
            keys.append((await log.peek(source.name, partition, ends.end - 1, most=1)).key(0))
    return max(map(received_at, keys), default=None)
