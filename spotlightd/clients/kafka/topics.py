"""Creating Kafka topics, and changing the settings of those that exist to what their source declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiokafka.protocol.admin import CreatePartitionsRequest, CreateTopicsRequest, DescribeConfigsRequest

from spotlightd.clients.kafka.connection import Brokers, TransientError, error_from_code, retry_transient
from spotlightd.clients.kafka.protocol import TOPIC, IncrementalAlterConfigsRequest
from spotlightd.errors import StoreError
from spotlightd.model.bus import Topic

HOUR_MS = 3_600_000
UNLIMITED = -1
ALREADY_EXISTS = 36


def topic_configs(topic: Topic) -> Mapping[str, str]:
    """The topic's settings under Kafka's names."""
    return {
        "cleanup.policy": "delete",
        "compression.type": "zstd",  # what we send, so that the broker does not compress again
        "max.message.bytes": str(topic.max_message_bytes),
        # The broker stamps the records: it refuses timestamps an hour ahead of its clock, and our clock may be wrong.
        "message.timestamp.type": "LogAppendTime",
        "retention.bytes": str(topic.retention_bytes or UNLIMITED),
        "retention.ms": str(topic.retention_hours * HOUR_MS),
    }


async def ensure_topic(brokers: Brokers, topic: Topic, replication: int) -> None:
    """Create the topic or change what differs, and wait until each partition has a leader."""
    await retry_transient(lambda: _create_or_change(brokers, topic, replication), brokers.seconds)
    await retry_transient(lambda: _require_leaders(brokers, topic), brokers.seconds)


async def _create_or_change(brokers: Brokers, topic: Topic, replication: int) -> None:
    description = await brokers.describe_topic(topic.name)
    if description is None:
        await _create(brokers, topic, replication)
    else:
        await _change_configs(brokers, topic)
        if len(description.leaders) < topic.partitions:
            await _add_partitions(brokers, topic)


async def _require_leaders(brokers: Brokers, topic: Topic) -> None:
    description = await brokers.describe_topic(topic.name)
    count = sum(leader >= 0 for leader in description.leaders.values()) if description else 0
    if count < topic.partitions:
        raise TransientError(
            f"Kafka at {brokers.servers}: only {count} of {topic.partitions} partitions of topic {topic.name} have a leader"
        )


async def _create(brokers: Brokers, topic: Topic, replication: int) -> None:
    wanted: tuple[Any, ...] = (topic.name, topic.partitions, replication, [], list(topic_configs(topic).items()))
    request = CreateTopicsRequest([wanted], round(brokers.seconds * 1000), False)
    response = await brokers.send(request, (await brokers.fetch_metadata()).controller)
    _, code, *messages = response.topic_errors[0]
    if code and code != ALREADY_EXISTS:
        raise _make_error(brokers, f"refused to create topic {topic.name}", code, messages)


async def _add_partitions(brokers: Brokers, topic: Topic) -> None:
    wanted = [(topic.name, (topic.partitions, None))]
    request = CreatePartitionsRequest(wanted, round(brokers.seconds * 1000), False)
    response = await brokers.send(request, (await brokers.fetch_metadata()).controller)
    _, code, *messages = response.topic_errors[0]
    if code:
        failure = f"refused to give topic {topic.name} {topic.partitions} partitions"
        raise _make_error(brokers, failure, code, messages)


async def _change_configs(brokers: Brokers, topic: Topic) -> None:
    """Change only what differs: on a cluster of others we may lack the right to change settings that are right."""
    wanted = topic_configs(topic)
    response = await brokers.send(DescribeConfigsRequest([(TOPIC, topic.name, list(wanted))]))
    code, message, _, _, entries = response.resources[0]
    if code:
        raise _make_error(brokers, f"refused to describe topic {topic.name}", code, [message])
    current = {name: value for name, value, *_ in entries}
    differing = {name: value for name, value in wanted.items() if current.get(name) != value}
    if differing:
        response = await brokers.send(IncrementalAlterConfigsRequest(topic.name, differing))
        code, message, *_ = response.resources[0]
        if code:
            raise _make_error(brokers, f"refused to set {differing} for topic {topic.name}", code, [message])


def _make_error(brokers: Brokers, failure: str, code: int, messages: list[str | None]) -> StoreError:
    detail = "".join(f" ({message})" for message in messages if message)
    return error_from_code(brokers.servers, f"{failure}{detail}", code)
