"""Two requests of Kafka's protocol that aiokafka lacks: metadata with topic ids, and the change of single settings.

aiokafka has metadata up to version 5, which knows topics by name only: a topic that was deleted and created again looks
the same. Version 12 has the topic id. aiokafka's own `AlterConfigs` resets every setting of the topic that it does not
name; the incremental request changes only those that it names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Array,
    Boolean,
    CompactArray,
    CompactString,
    Int8,
    Int16,
    Int32,
    Schema,
    String,
    TaggedFields,
)

TOPIC = 2  # the resource type that has settings
SET = 0  # the operation on a setting
NO_TOPIC_ID = bytes(16)
TEXT = CompactString("utf-8")


class _Uuid(AbstractType):  # type: ignore[misc]
    """16 bytes as they are."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: Any) -> bytes:
        raw: bytes = data.read(len(NO_TOPIC_ID))
        return raw


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle", Int32),
        (
            "brokers",
            CompactArray(("node", Int32), ("host", TEXT), ("port", Int32), ("rack", TEXT), ("_", TaggedFields)),
        ),
        ("cluster", TEXT),
        ("controller", Int32),
        (
            "topics",
            CompactArray(
                ("error", Int16),
                ("name", TEXT),
                ("id", _Uuid),
                ("internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("in_sync", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        ("_", TaggedFields),
                    ),
                ),
                ("operations", Int32),
                ("_", TaggedFields),
            ),
        ),
        ("_", TaggedFields),
    )


class _MetadataRequest(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("id", _Uuid), ("name", TEXT), ("_", TaggedFields))),
        ("create_topics", Boolean),
        ("operations", Boolean),
        ("_", TaggedFields),
    )


class MetadataRequest(Request[_MetadataRequest]):  # type: ignore[misc]
    """The brokers, and these topics; without names, no topics. It never creates a topic."""

    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = topics

    def build(self, struct: Any) -> Any:
        return struct([(NO_TOPIC_ID, topic, {}) for topic in self._topics], False, False, {})


class _AlterConfigsResponse(Response):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle", Int32),
        ("resources", Array(("error", Int16), ("message", String("utf-8")), ("kind", Int8), ("name", String("utf-8")))),
    )


class _AlterConfigsRequest(RequestStruct):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = _AlterConfigsResponse
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("kind", Int8),
                ("name", String("utf-8")),
                ("settings", Array(("name", String("utf-8")), ("operation", Int8), ("value", String("utf-8")))),
            ),
        ),
        ("only_check", Boolean),
    )


class IncrementalAlterConfigsRequest(Request[_AlterConfigsRequest]):  # type: ignore[misc]
    """Changes these settings of a topic, and leaves the others."""

    API_KEY = 44

    def __init__(self, topic: str, settings: Mapping[str, str]) -> None:
        self._topic = topic
        self._settings = settings

    def build(self, struct: Any) -> Any:
        return struct([(TOPIC, self._topic, [(name, SET, value) for name, value in self._settings.items()])], False)


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """A topic in the metadata: its error code (0 = none), its id, and by partition the node id of its leader (-1 = none)."""

    error: int
    id: str
    leaders: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class ClusterMetadata:
    """The response to `MetadataRequest`: addresses by node id, the controller's node id, and the topics by name."""

    nodes: Mapping[int, tuple[str, int]]
    controller: int
    topics: Mapping[str, TopicDescription]


def parse_metadata(response: Any) -> ClusterMetadata:
    nodes = {node: (host, port) for node, host, port, *_ in response.brokers}
    topics = {
        name: TopicDescription(
            error,
            "" if topic_id == NO_TOPIC_ID else topic_id.hex(),
            {number: leader for _, number, leader, *_ in partitions},
        )
        for error, name, topic_id, _, partitions, *_ in response.topics
    }
    return ClusterMetadata(nodes, response.controller, topics)
