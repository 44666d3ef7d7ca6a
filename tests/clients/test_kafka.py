"""What is Kafka's own: brokers that die, freeze and forget, topics made anew, passwords.

Against a real broker. Records have test_kafka_records.py; what every bus promises is in test_bus.py.
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
from tests.clients.kafka_world import IMPATIENT, PATIENCE, all_of, append, insist, made, opened, rest_of, until
from tests.real.kafka import SECRET
from tests.real.kafka import Kafka as Broker


@pytest.fixture
async def bus(kafka: Broker) -> AsyncIterator[Kafka]:
    async with opened(kafka) as bus:
        yield bus


@pytest.fixture
async def admin(kafka: Broker) -> AsyncIterator[Any]:
    """Somebody else, with Kafka's own tools."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    yield admin
    await admin.close()


# -- brokers that die, freeze and forget -------------------------------------------------------------------------------


async def test_what_was_acknowledged_outlives_a_killed_broker_and_readers_go_on(kafka: Broker, bus: Kafka) -> None:
    topic = await made(bus)
    groups = [[b"%d" % one for one in range(first, first + 10)] for first in range(0, 600, 10)]
    await append(bus, topic, groups[0])
    async with bus.reading(topic, 0, 0) as reading:
        seen = await rest_of(reading)

        async def sender() -> None:
            for group in groups[1:]:
                await insist(bus, topic, group)

        sending = asyncio.create_task(sender(), name="sending")
        await until(lambda: reached(bus, topic, 100))
        kafka.kill()
        with pytest.raises(StoreError, match=kafka.address):
            await bus.ping()
        with pytest.raises(StoreError, match=kafka.address):  # after what it had on the way
            await told_of_trouble(reading, seen)
        await kafka.start()
        await sending
        seen += await rest_of(reading)
    assert seen == await all_of(bus, topic)
    firsts = list(dict.fromkeys(seen))  # a group whose acknowledgement was lost may be there twice
    assert firsts == [value for group in groups for value in group]


async def reached(bus: Kafka, topic: str, end: int) -> bool:
    return (await bus.ends(topic))[0].end >= end


async def told_of_trouble(reading: Any, seen: list[bytes]) -> None:
    while True:
        seen += (await reading.next(frames=10_000, size=1 << 24, seconds=0.1)).values


async def test_a_frozen_broker_holds_nobody_for_longer_than_was_said(kafka: Broker) -> None:
    async with opened(kafka, seconds=IMPATIENT) as bus:
        topic = await made(bus)
        await append(bus, topic, [b"before"])
        try:
            async with asyncio.timeout(12 * IMPATIENT), bus.reading(topic, 0, 0) as reading:
                assert await rest_of(reading) == [b"before"]
                kafka.freeze()
                for act in (bus.ping(), bus.log_id(topic), append(bus, topic, [b"perhaps"])):
                    with pytest.raises(StoreError, match="did not answer"):
                        await act
                with pytest.raises(StoreError, match="did not answer"):
                    await told_of_trouble(reading, [])
            async with asyncio.timeout(4 * IMPATIENT), opened(kafka, seconds=IMPATIENT) as other:
                with pytest.raises(StoreError, match="did not answer"):
                    await other.committed(topic, 0, 1)
        finally:
            kafka.thaw()
        await insist(bus, topic, [b"after"])
        found = await all_of(bus, topic)
        assert (found[0], found[-1], set(found[1:-1]) - {b"perhaps"}) == (b"before", b"after", set())


async def test_nobody_listens(free_port: int, caplog: pytest.LogCaptureFixture) -> None:
    async with Kafka(BusSettings(kind="kafka", servers=[f"127.0.0.1:{free_port}"], request_seconds=IMPATIENT)) as bus:
        topic = Topic("constructed")
        for act in (bus.ping(), bus.ensure(topic), bus.ends("constructed"), bus.committed("constructed", 0, 1)):
            with pytest.raises(StoreError, match=f"127.0.0.1:{free_port}"):
                await act
        with pytest.raises(StoreError, match=f"127.0.0.1:{free_port}"):
            await append(bus, "constructed", [b"a"])
    assert not [record for record in caplog.records if record.name.startswith("aiokafka")]


async def test_what_the_library_warns_of_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    async with Kafka(BusSettings(kind="kafka")):
        for place in range(5):
            logging.getLogger("aiokafka.conn").warning("constructed trouble at %s", place)
    assert len(caplog.records) == 1


async def test_of_several_brokers_those_that_listen_are_asked(kafka: Broker, free_port: int) -> None:
    async with Kafka(BusSettings(kind="kafka", servers=[f"127.0.0.1:{free_port}", kafka.address])) as bus:
        await bus.ping()


async def test_a_wiped_broker_has_another_log(kafka: Broker, bus: Kafka) -> None:
    topic = await made(bus)
    await append(bus, topic, [b"a", b"b"])
    before = await bus.log_id(topic)
    await kafka.wipe()
    assert await bus.log_id(topic) == ""
    with pytest.raises(StoreError, match=topic):
        await append(bus, topic, [b"c"])
    await bus.ensure(Topic(topic))
    assert await bus.log_id(topic) not in {"", before}
    await append(bus, topic, [b"d"])
    assert await all_of(bus, topic) == [b"d"]


# -- topics that change under us ---------------------------------------------------------------------------------------


async def test_a_topic_made_anew_is_another_log(bus: Kafka, admin: Any) -> None:
    topic = await made(bus)
    await append(bus, topic, [b"a", b"b", b"c"])
    before = await bus.log_id(topic)
    async with bus.reading(topic, 0, 3) as reading:
        assert not await reading.next(frames=1, size=1, seconds=0, idle_seconds=0)
        await admin.delete_topics([topic])
        await until(lambda: gone(bus, topic))
        with pytest.raises(StoreError, match=topic):
            await append(bus, topic, [b"lost"])
        await bus.ensure(Topic(topic))
        assert await bus.log_id(topic) not in {"", before}
        await append(bus, topic, [b"d"])
        with pytest.raises(OffsetError):
            await told_otherwise(reading)
    assert await bus.ends(topic) == {0: Ends(0, 1)}


async def gone(bus: Kafka, topic: str) -> bool:
    return not await bus.log_id(topic)


async def told_otherwise(reading: Any) -> None:
    """Until it says so: a StoreError may come first, while there is no topic."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await reading.next(frames=1, size=1, seconds=0.1)
            except OffsetError:
                raise
            except StoreError:
                continue


async def test_an_offset_that_was_trimmed_is_an_error(bus: Kafka, admin: Any) -> None:
    topic = await made(bus)
    await append(bus, topic, [b"%d" % one for one in range(10)])
    await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=4)})
    assert await bus.ends(topic) == {0: Ends(4, 10)}
    with pytest.raises(OffsetError, match="no offset 3"):
        await all_of(bus, topic, 3)
    assert (await all_of(bus, topic, 4))[0] == b"4"
    with pytest.raises(OffsetError):
        await bus.peek(topic, 0, 0, most=1)


async def test_settings_are_brought_in_line_and_those_of_others_stay(bus: Kafka, admin: Any) -> None:
    topic = await made(bus, retention_hours=1, retention_bytes=0)
    name = ConfigResource(ConfigResourceType.TOPIC, topic, {"segment.ms": "77777777"})
    await admin.alter_configs([name])  # which resets all others
    await bus.ensure(Topic(topic, retention_hours=2, retention_bytes=5_000_000, max_message_bytes=3_000_000))
    answer = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    has = {name: value for name, value, *_ in answer[0].resources[0][4]}
    assert has["retention.ms"] == "7200000"
    assert has["retention.bytes"] == "5000000"
    assert has["max.message.bytes"] == "3000000"
    assert has["compression.type"] == "zstd"
    assert has["segment.ms"] == "77777777"


async def test_more_copies_than_there_are_brokers_cannot_be_had(kafka: Broker) -> None:
    async with Kafka(BusSettings(kind="kafka", servers=[kafka.address], replication=3)) as bus:
        with pytest.raises(StoreError, match=r"constructed_three.*InvalidReplicationFactor"):
            await bus.ensure(Topic("constructed_three"))


async def test_others_see_how_far_the_drain_is(bus: Kafka, admin: Any) -> None:
    topic = await made(bus)
    await append(bus, topic, [b"a", b"b"])
    await bus.committed(topic, 0, 2)
    kept = await admin.list_consumer_group_offsets(f"spotlightd-{topic}")
    assert kept[TopicPartition(topic, 0)].offset == 2


# -- who may ask -------------------------------------------------------------------------------------------------------


async def test_a_password_opens_and_a_wrong_one_is_not_told(kafka: Broker) -> None:
    asked = BusSettings(
        kind="kafka", servers=[kafka.locked], security="SASL_PLAINTEXT", sasl="PLAIN", request_seconds=IMPATIENT * 3
    )
    async with Kafka(asked, SECRET) as bus:
        topic = await made(bus)
        await append(bus, topic, [b"a"])
        assert await all_of(bus, topic) == [b"a"]
    async with Kafka(asked, "another secret") as bus:
        with pytest.raises(StoreError, match=kafka.locked) as refused:
            await bus.ping()
    assert "another secret" not in repr(refused.value)
    assert "uthentication failed" in str(refused.value)


async def test_over_tls_the_broker_shows_who_it_is(kafka: Broker) -> None:
    known = BusSettings(
        kind="kafka",
        servers=[kafka.secure],
        security="SASL_SSL",
        ca_file=str(kafka.certificate),
        request_seconds=IMPATIENT * 3,
    )
    async with Kafka(known, SECRET) as bus:
        topic = await made(bus)
        await append(bus, topic, [b"a"])
        assert await all_of(bus, topic) == [b"a"]
    async with Kafka(known, "another secret") as bus:
        with pytest.raises(StoreError, match="uthentication failed"):
            await bus.ping()
    async with Kafka(dataclasses.replace(known, ca_file=""), SECRET) as bus:
        with pytest.raises(StoreError, match="CERTIFICATE_VERIFY_FAILED"):
            await bus.ping()


def test_settings_become_the_words_of_the_library(tmp_path: Path) -> None:
    plain = connection.arguments(BusSettings(), "")
    assert plain["security_protocol"] == "PLAINTEXT"
    assert "sasl_plain_password" not in plain
    secure = connection.arguments(BusSettings(security="SASL_SSL", request_seconds=2.5), "secret")
    assert secure["ssl_context"].check_hostname
    assert secure["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (secure["sasl_plain_username"], secure["sasl_plain_password"]) == ("spotlightd", "secret")
    assert secure["request_timeout_ms"] == 2500
    (tmp_path / "ca.pem").write_text("no certificate", encoding="utf-8")
    for nothing in ("ca.pem", "missing.pem"):
        with pytest.raises(SettingsError, match=nothing):
            connection.arguments(BusSettings(security="SSL", ca_file=str(tmp_path / nothing)), "")


def test_a_login_needs_a_password() -> None:
    with pytest.raises(SettingsError, match=r"bus\.password_file"):
        connection.arguments(BusSettings(security="SASL_SSL"), "")


def test_addresses_are_read_with_and_without_a_port() -> None:
    read = connection.addresses(["127.0.0.1:9093", "kafka.invalid", "[::1]:9094", "[::1]"])
    assert read == [("127.0.0.1", 9093), ("kafka.invalid", 9092), ("::1", 9094), ("::1", 9092)]
    for wrong in (["a:b"], [":9092"], []):
        with pytest.raises(SettingsError, match=r"bus\.servers"):
            connection.addresses(wrong)
