"""Two requests of Kafka's protocol that aiokafka does not speak: metadata with topic ids, and changing single settings.

aiokafka stops at version 5 of metadata, which knows topics by name only: a topic that was deleted and made anew looks
the same. Version 12 gives the id. aiokafka's own `AlterConfigs` resets every setting of the topic that it does not
name; the incremental one changes those that it names.
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

TOPIC = 2  # the kind of thing that has settings
SET = 0  # what to do with a setting
NO_TOPIC_ID = bytes(16)
TEXT = CompactString("utf-8")


class _Id(AbstractType):  # type: ignore[misc]
    """16 bytes as they are."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: Any) -> bytes:
        read: bytes = data.read(len(NO_TOPIC_ID))
        return read


class _MetadataAnswer(Response):  # type: ignore[misc]
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
                ("id", _Id),
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


class _MetadataAsked(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataAnswer
    SCHEMA = Schema(
        ("topics", CompactArray(("id", _Id), ("name", TEXT), ("_", TaggedFields))),
        ("make", Boolean),
        ("operations", Boolean),
        ("_", TaggedFields),
    )


class MetadataRequest(Request[_MetadataAsked]):  # type: ignore[misc]
    """The brokers, and these topics (none named: none told). Never makes a topic."""

    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = topics

    def build(self, form: Any) -> Any:
        return form([(NO_TOPIC_ID, topic, {}) for topic in self._topics], False, False, {})


class _SettingsAnswer(Response):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle", Int32),
        ("resources", Array(("error", Int16), ("message", String("utf-8")), ("kind", Int8), ("name", String("utf-8")))),
    )


class _SettingsAsked(RequestStruct):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = _SettingsAnswer
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("kind", Int8),
                ("name", String("utf-8")),
                ("settings", Array(("name", String("utf-8")), ("act", Int8), ("value", String("utf-8")))),
            ),
        ),
        ("only_check", Boolean),
    )


class SettingsRequest(Request[_SettingsAsked]):  # type: ignore[misc]
    """Change these settings of a topic, and leave the others."""

    API_KEY = 44

    def __init__(self, topic: str, settings: Mapping[str, str]) -> None:
        self._topic = topic
        self._settings = settings

    def build(self, form: Any) -> Any:
        return form([(TOPIC, self._topic, [(name, SET, value) for name, value in self._settings.items()])], False)


@dataclass(frozen=True, slots=True)
class Described:
    """A topic as the cluster knows it: its error code (0 = none), its id, and the leader of each partition (-1 = none)."""

    error: int
    id: str
    leaders: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Cluster:
    """An answer to `MetadataRequest`: address by node, which one is in charge, and the topics asked about."""

    nodes: Mapping[int, tuple[str, int]]
    controller: int
    topics: Mapping[str, Described]


def cluster(answer: Any) -> Cluster:
    nodes = {node: (host, port) for node, host, port, *_ in answer.brokers}
    topics = {
        name: Described(error, "" if topic_id == NO_TOPIC_ID else topic_id.hex(), {one[1]: one[2] for one in parts})
        for error, name, topic_id, _, parts, *_ in answer.topics
    }
    return Cluster(nodes, answer.controller, topics)
