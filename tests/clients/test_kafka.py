"""What only Kafka has: brokers that are killed, frozen and wiped, topics that are created again, passwords.

The broker is real. For records see test_kafka_records.py; what every bus promises is in test_bus.py.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from spotlightd import SettingsError, StoreError
from spotlightd.clients.kafka import connection
from spotlightd.clients.kafka.bus import Kafka
from spotlightd.errors import OffsetError
from spotlightd.model.bus import Ends, Topic
from spotlightd.settings.sources import BusSettings
from tests.clients.kafka_world import (
    SHORT_SECONDS,
    WAIT_SECONDS,
    append,
    append_until_certain,
    create_topic,
    open_bus,
    read_all,
    read_rest,
    wait_until,
)
from tests.real.kafka import SECRET
from tests.real.kafka import Kafka as Broker


@pytest.fixture
async def bus(kafka: Broker) -> AsyncIterator[Kafka]:
    async with open_bus(kafka) as bus:
        yield bus


@pytest.fixture
async def admin(kafka: Broker) -> AsyncIterator[Any]:
    """Another client, with Kafka's own tools."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    yield admin
    await admin.close()


# -- brokers that die, freeze and forget -------------------------------------------------------------------------------


async def test_what_was_acknowledged_outlives_a_killed_broker_and_readers_go_on(kafka: Broker, bus: Kafka) -> None:
    topic = await create_topic(bus)
    groups = [[b"%d" % number for number in range(first, first + 10)] for first in range(0, 600, 10)]
    await append(bus, topic, groups[0])
    async with bus.open_reader(topic, 0, 0) as reader:
        values = await read_rest(reader)

        async def sender() -> None:
            for group in groups[1:]:
                await append_until_certain(bus, topic, group)

        sending = asyncio.create_task(sender(), name="sending")
        await wait_until(lambda: has_end(bus, topic, 100))
        kafka.kill()
        with pytest.raises(StoreError, match=kafka.address):
            await bus.ping()
        with pytest.raises(StoreError, match=kafka.address):  # after what it had fetched before
            await read_until_error(reader, values)
        await kafka.start()
        await sending
        values += await read_rest(reader)
    assert values == await read_all(bus, topic)
    firsts = list(dict.fromkeys(values))  # a group whose acknowledgement was lost may be there twice
    assert firsts == [value for group in groups for value in group]


async def has_end(bus: Kafka, topic: str, end: int) -> bool:
    return (await bus.ends(topic))[0].end >= end


async def read_until_error(reader: Any, values: list[bytes]) -> None:
    while True:
        values += (await reader.next(frames=10_000, size=1 << 24, seconds=0.1)).values


async def test_no_call_to_a_frozen_broker_takes_longer_than_its_time_out(kafka: Broker) -> None:
    async with open_bus(kafka, seconds=SHORT_SECONDS) as bus:
        topic = await create_topic(bus)
        await append(bus, topic, [b"before"])
        try:
            async with asyncio.timeout(12 * SHORT_SECONDS), bus.open_reader(topic, 0, 0) as reader:
                assert await read_rest(reader) == [b"before"]
                kafka.freeze()
                for call in (bus.ping(), bus.log_id(topic), append(bus, topic, [b"perhaps"])):
                    with pytest.raises(StoreError, match="did not answer"):
                        await call
                with pytest.raises(StoreError, match="did not answer"):
                    await read_until_error(reader, [])
            async with asyncio.timeout(4 * SHORT_SECONDS), open_bus(kafka, seconds=SHORT_SECONDS) as other:
                with pytest.raises(StoreError, match="did not answer"):
                    await other.commit(topic, 0, 1)
        finally:
            kafka.thaw()
        await append_until_certain(bus, topic, [b"after"])
        values = await read_all(bus, topic)
        assert (values[0], values[-1], set(values[1:-1]) - {b"perhaps"}) == (b"before", b"after", set())


async def test_no_broker_listens(free_port: int, caplog: pytest.LogCaptureFixture) -> None:
    async with Kafka(
        BusSettings(kind="kafka", servers=[f"127.0.0.1:{free_port}"], request_seconds=SHORT_SECONDS)
    ) as bus:
        topic = Topic("constructed")
        for call in (bus.ping(), bus.ensure(topic), bus.ends("constructed"), bus.commit("constructed", 0, 1)):
            with pytest.raises(StoreError, match=f"127.0.0.1:{free_port}"):
                await call
        with pytest.raises(StoreError, match=f"127.0.0.1:{free_port}"):
            await append(bus, "constructed", [b"a"])
    assert not [record for record in caplog.records if record.name.startswith("aiokafka")]


async def test_a_warning_of_the_library_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    async with Kafka(BusSettings(kind="kafka")):
        for number in range(5):
            logging.getLogger("aiokafka.conn").warning("constructed warning at %s", number)
    assert len(caplog.records) == 1


async def test_of_several_brokers_those_that_listen_are_used(kafka: Broker, free_port: int) -> None:
    async with Kafka(BusSettings(kind="kafka", servers=[f"127.0.0.1:{free_port}", kafka.address])) as bus:
        await bus.ping()


async def test_a_wiped_broker_has_another_log(kafka: Broker, bus: Kafka) -> None:
    topic = await create_topic(bus)
    await append(bus, topic, [b"a", b"b"])
    before = await bus.log_id(topic)
    await kafka.wipe()
    assert await bus.log_id(topic) == ""
    with pytest.raises(StoreError, match=topic):
        await append(bus, topic, [b"c"])
    await bus.ensure(Topic(topic))
    assert await bus.log_id(topic) not in {"", before}
    await append(bus, topic, [b"d"])
    assert await read_all(bus, topic) == [b"d"]


# -- topics that others change ---------------------------------------------------------------------------------------


async def test_a_topic_that_was_created_again_is_another_log(bus: Kafka, admin: Any) -> None:
    topic = await create_topic(bus)
    await append(bus, topic, [b"a", b"b", b"c"])
    before = await bus.log_id(topic)
    async with bus.open_reader(topic, 0, 3) as reader:
        assert not await reader.next(frames=1, size=1, seconds=0, idle_seconds=0)
        await admin.delete_topics([topic])
        await wait_until(lambda: is_deleted(bus, topic))
        with pytest.raises(StoreError, match=topic):
            await append(bus, topic, [b"lost"])
        await bus.ensure(Topic(topic))
        assert await bus.log_id(topic) not in {"", before}
        await append(bus, topic, [b"d"])
        with pytest.raises(OffsetError):
            await read_until_offset_error(reader)
    assert await bus.ends(topic) == {0: Ends(0, 1)}


async def is_deleted(bus: Kafka, topic: str) -> bool:
    return not await bus.log_id(topic)


async def read_until_offset_error(reader: Any) -> None:
    """Read until an OffsetError; a StoreError may come first, while there is no topic."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                await reader.next(frames=1, size=1, seconds=0.1)
            except OffsetError:
                raise
            except StoreError:
                continue


async def test_an_offset_that_was_trimmed_is_an_error(bus: Kafka, admin: Any) -> None:
    topic = await create_topic(bus)
    await append(bus, topic, [b"%d" % number for number in range(10)])
    await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=4)})
    assert await bus.ends(topic) == {0: Ends(4, 10)}
    with pytest.raises(OffsetError, match="no offset 3"):
        await read_all(bus, topic, 3)
    assert (await read_all(bus, topic, 4))[0] == b"4"
    with pytest.raises(OffsetError):
        await bus.peek(topic, 0, 0, most=1)


async def test_settings_of_the_topic_are_changed_and_those_of_others_stay(bus: Kafka, admin: Any) -> None:
    topic = await create_topic(bus, retention_hours=1, retention_bytes=0)
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, {"segment.ms": "77777777"})
    await admin.alter_configs([resource])  # which resets all others

    async def is_reset() -> bool:
        return (await describe_configs(admin, topic))["compression.type"] != "zstd"

    await wait_until(is_reset)  # a broker describes the topic as it was until the change has reached it
    await bus.ensure(Topic(topic, retention_hours=2, retention_bytes=5_000_000, max_message_bytes=3_000_000))
    configs = await describe_configs(admin, topic)
    assert configs["retention.ms"] == "7200000"
    assert configs["retention.bytes"] == "5000000"
    assert configs["max.message.bytes"] == "3000000"
    assert configs["compression.type"] == "zstd"
    assert configs["segment.ms"] == "77777777"


async def describe_configs(admin: Any, topic: str) -> dict[str, str]:
    response = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    return {name: value for name, value, *_ in response[0].resources[0][4]}


async def test_more_replicas_than_brokers_are_refused(kafka: Broker) -> None:
    async with Kafka(BusSettings(kind="kafka", servers=[kafka.address], replication=3)) as bus:
        with pytest.raises(StoreError, match=r"constructed_three.*InvalidReplicationFactor"):
            await bus.ensure(Topic("constructed_three"))


async def test_others_see_how_far_the_drain_is(bus: Kafka, admin: Any) -> None:
    topic = await create_topic(bus)
    await append(bus, topic, [b"a", b"b"])
    await bus.commit(topic, 0, 2)
    offsets = await admin.list_consumer_group_offsets(f"spotlightd-{topic}")
    assert offsets[TopicPartition(topic, 0)].offset == 2


# -- access -------------------------------------------------------------------------------------------------------


async def test_a_password_gives_access_and_a_wrong_one_is_not_shown(kafka: Broker) -> None:
    settings = BusSettings(
        kind="kafka", servers=[kafka.locked], security="SASL_PLAINTEXT", sasl="PLAIN", request_seconds=SHORT_SECONDS * 3
    )
    async with Kafka(settings, SECRET) as bus:
        topic = await create_topic(bus)
        await append(bus, topic, [b"a"])
        assert await read_all(bus, topic) == [b"a"]
    async with Kafka(settings, "another secret") as bus:
        with pytest.raises(StoreError, match=kafka.locked) as error:
            await bus.ping()
    assert "another secret" not in repr(error.value)
    assert "uthentication failed" in str(error.value)


async def test_over_tls_the_brokers_certificate_is_checked(kafka: Broker) -> None:
    settings = BusSettings(
        kind="kafka",
        servers=[kafka.secure],
        security="SASL_SSL",
        ca_file=str(kafka.certificate),
        request_seconds=SHORT_SECONDS * 3,
    )
    async with Kafka(settings, SECRET) as bus:
        topic = await create_topic(bus)
        await append(bus, topic, [b"a"])
        assert await read_all(bus, topic) == [b"a"]
    async with Kafka(settings, "another secret") as bus:
        with pytest.raises(StoreError, match="uthentication failed"):
            await bus.ping()
    async with Kafka(dataclasses.replace(settings, ca_file=""), SECRET) as bus:
        with pytest.raises(StoreError, match="CERTIFICATE_VERIFY_FAILED"):
            await bus.ping()


def test_settings_become_arguments_of_the_library(tmp_path: Path) -> None:
    plain = connection.connection_arguments(BusSettings(), "")
    assert plain["security_protocol"] == "PLAINTEXT"
    assert "sasl_plain_password" not in plain
    secure = connection.connection_arguments(BusSettings(security="SASL_SSL", request_seconds=2.5), "secret")
    assert secure["ssl_context"].check_hostname
    assert secure["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (secure["sasl_plain_username"], secure["sasl_plain_password"]) == ("spotlightd", "secret")
    assert secure["request_timeout_ms"] == 2500
    (tmp_path / "ca.pem").write_text("no certificate", encoding="utf-8")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(SettingsError, match=name):
            connection.connection_arguments(BusSettings(security="SSL", ca_file=str(tmp_path / name)), "")


def test_a_login_needs_a_password() -> None:
    with pytest.raises(SettingsError, match=r"bus\.password_file"):
        connection.connection_arguments(BusSettings(security="SASL_SSL"), "")


def test_addresses_are_read_with_and_without_a_port() -> None:
    addresses = connection.parse_addresses(["127.0.0.1:9093", "kafka.invalid", "[::1]:9094", "[::1]"])
    assert addresses == [("127.0.0.1", 9093), ("kafka.invalid", 9092), ("::1", 9094), ("::1", 9092)]
    for wrong in (["a:b"], [":9092"], []):
        with pytest.raises(SettingsError, match=r"bus\.servers"):
            connection.parse_addresses(wrong)
