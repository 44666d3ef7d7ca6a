"""Making Kafka topics, and bringing them in line with what their source wants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiokafka.protocol.admin import CreatePartitionsRequest, CreateTopicsRequest, DescribeConfigsRequest

from spotlightd.clients.kafka.connection import Brokers, PassingError, refused, settled
from spotlightd.clients.kafka.protocol import TOPIC, SettingsRequest
from spotlightd.errors import StoreError
from spotlightd.model.bus import Topic

HOUR_MS = 3_600_000
BOUNDLESS = -1
THERE_ALREADY = 36


def settings_of(topic: Topic) -> Mapping[str, str]:
    """The topic's settings in Kafka's words."""
    return {
        "cleanup.policy": "delete",
        "compression.type": "zstd",  # what we send, so that the broker packs nothing anew
        "max.message.bytes": str(topic.max_message_bytes),
        # Stamped by the broker: what is timed an hour ahead of its clock it refuses, and ours may be set or go wrong.
        "message.timestamp.type": "LogAppendTime",
        "retention.bytes": str(topic.retention_bytes or BOUNDLESS),
        "retention.ms": str(topic.retention_hours * HOUR_MS),
    }


async def ensured(brokers: Brokers, topic: Topic, replication: int) -> None:
    """Make the topic or change what differs, and wait until each partition has a leader."""
    await settled(lambda: _in_line(brokers, topic, replication), brokers.seconds)
    await settled(lambda: _led(brokers, topic), brokers.seconds)


async def _in_line(brokers: Brokers, topic: Topic, replication: int) -> None:
    described = await brokers.topic(topic.name)
    if described is None:
        await _make(brokers, topic, replication)
    else:
        await _change(brokers, topic)
        if len(described.leaders) < topic.partitions:
            await _grow(brokers, topic)


async def _led(brokers: Brokers, topic: Topic) -> None:
    described = await brokers.topic(topic.name)
    led = sum(leader >= 0 for leader in described.leaders.values()) if described else 0
    if led < topic.partitions:
        raise PassingError(
            f"Kafka at {brokers.named}: only {led} of {topic.partitions} partitions of topic {topic.name} have a leader"
        )


async def _make(brokers: Brokers, topic: Topic, replication: int) -> None:
    asked: tuple[Any, ...] = (topic.name, topic.partitions, replication, [], list(settings_of(topic).items()))
    request = CreateTopicsRequest([asked], round(brokers.seconds * 1000), False)
    answer = await brokers.ask(request, (await brokers.cluster()).controller)
    _, code, *says = answer.topic_errors[0]
    if code and code != THERE_ALREADY:
        raise _refused(brokers, topic, "made", code, says)


async def _grow(brokers: Brokers, topic: Topic) -> None:
    asked = [(topic.name, (topic.partitions, None))]
    request = CreatePartitionsRequest(asked, round(brokers.seconds * 1000), False)
    answer = await brokers.ask(request, (await brokers.cluster()).controller)
    _, code, *says = answer.topic_errors[0]
    if code:
        raise _refused(brokers, topic, f"given {topic.partitions} partitions", code, says)


async def _change(brokers: Brokers, topic: Topic) -> None:
    """Only what differs: at somebody else's cluster we may lack the right to change settings that are right."""
    wanted = settings_of(topic)
    answer = await brokers.ask(DescribeConfigsRequest([(TOPIC, topic.name, list(wanted))]))
    code, says, _, _, entries = answer.resources[0]
    if code:
        raise _refused(brokers, topic, "described", code, [says])
    has = {name: value for name, value, *_ in entries}
    differing = {name: value for name, value in wanted.items() if has.get(name) != value}
    if differing:
        changed = await brokers.ask(SettingsRequest(topic.name, differing))
        code, says, *_ = changed.resources[0]
        if code:
            raise _refused(brokers, topic, f"given {differing}", code, [says])


def _refused(brokers: Brokers, topic: Topic, act: str, code: int, says: list[str | None]) -> StoreError:
    told = "".join(f" ({one})" for one in says if one)
    return refused(brokers.named, f"refused that topic {topic.name} be {act}{told}", code)
