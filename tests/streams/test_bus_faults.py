"""The real daemon, and a real Kafka with two partitions that is frozen, cut off, wiped, emptied and full.

One daemon lives through all of it, fault after fault; whatever was made before the end of each must be in the table once
or in a gap. The numbers are those of docs/reliability.md.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.admin import DeleteGroupsRequest

from spotlightd.clients.kafka.bus import Kafka
from spotlightd.model.bus import Frame, Topic, pack_key, source_mark
from spotlightd.settings.sources import BusSettings
from tests.polling import until
from tests.real.kafka import Kafka as Broken
from tests.streams.conftest import Broker, Verdict
from tests.streams.place import Count
from tests.streams.scene import Scene, run_scene

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
LATE = 1.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def life(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> AsyncIterator[Scene]:
    folder = tmp_path_factory.mktemp("bus")
    async with run_scene(folder, broker.kafka, broker.wire_port, warehouse={"query_seconds": 2.0}) as scene:
        yield scene


@pytest_asyncio.fixture(loop_scope="module")
async def scene(life: Scene) -> AsyncIterator[Scene]:
    """The daemon that all tests share; started again when the last test left it ended."""
    if life.daemon.process.returncode is not None:
        await life.start()
    yield life
    life.wires.healthy()
    life.kafka.thaw()
    assert len(life.daemon.find_events("daemon ready")) == 1


async def late_turns(scene: Scene) -> float:
    """How often the event loop was more than LATE seconds late."""
    turns = await scene.loop_lags()
    return turns[float("inf")] - turns[LATE]


async def test_fault_9_a_frozen_kafka_fills_the_spool_which_empties_again(scene: Scene, verdict: Verdict) -> None:
    """9: Kafka SIGSTOP; the spool grows, the loop goes on, all comes when it thaws."""
    late = await late_turns(scene)
    held = len(scene.daemon.find_events("forward held"))
    scene.kafka.freeze()
    await until(lambda: spooled(scene, 3_000), "3,000 frames wait in the spool", every=0.1)
    await scene.daemon.wait_for("forward held", times=held + 1)
    scene.kafka.thaw()
    count = await scene.recover()
    assert await late_turns(scene) == late
    verdict("9", count)


async def spooled(scene: Scene, frames: int) -> bool:
    return await scene.metric("spool_frames", scene.source) >= frames


async def test_fault_11_answers_that_are_lost_make_repeats_that_are_known(scene: Scene, verdict: Verdict) -> None:
    """11: what is produced arrives, Kafka's answers do not; the same frames are sent again and kept once as trades."""
    before = await repeats(scene)
    counts = [await lose_answers(scene)]
    # Once more when a connection had just been lost: then no produce was under way.
    while await repeats(scene) == before and len(counts) < 3:
        counts.append(await lose_answers(scene))
    verdict("11", counts[-1], f"{await repeats(scene) - before} repeats known as such")
    assert await repeats(scene) > before


async def lose_answers(scene: Scene) -> Count:
    """Swallow Kafka's answers until the daemon holds its frames; the count once all have arrived."""
    held = len(scene.daemon.find_events("forward held"))
    scene.wires.deaf = True
    await scene.daemon.wait_for("forward held", times=held + 1)
    scene.wires.healthy()
    return await scene.recover()


async def repeats(scene: Scene) -> int:
    return int((await scene.query(f"SELECT sum(repeat) FROM {scene.source}_frames"))[0][0])


async def test_fault_12_connections_cut_in_mid_produce_lose_and_double_nothing(scene: Scene, verdict: Verdict) -> None:
    """12: connections to Kafka are cut off again and again while pieces of requests are under way."""
    scene.wires.piece_bytes, scene.wires.delay_seconds = 1_024, 0.001
    for _ in range(10):
        await scene.wait_for_ticks(100)
        scene.wires.reset()
    scene.wires.healthy()
    verdict("12", await scene.recover())


async def test_fault_12_a_sequence_out_of_order_costs_a_new_number_and_no_record(scene: Scene) -> None:
    """12: Kafka refuses with OutOfOrderSequence, as after it lost its producer state: sent again under a new number."""
    topic = f"constructed_{secrets.token_hex(4)}"
    async with Kafka(BusSettings(kind="kafka", servers=[scene.kafka.address])) as bus:
        await bus.ensure(Topic(topic))
        await bus.append(topic, 0, [b""], [b"before"])
        session = bus._producer._session
        assert session
        session.sequences[topic, 0] += 3
        await bus.append(topic, 0, [b""], [b"after"])
        assert bus._producer._session is not session
        assert list((await bus.peek(topic, 0, 0, most=10)).values) == [b"before", b"after"]


async def test_fault_8_poison_messages_are_rejected_once_and_others_flow(scene: Scene, verdict: Verdict) -> None:
    """8: bad JSON, a record without a key, and 5 MB without meaning, written to the topic by another program."""
    before = scene.rejected()
    bad = [b'{"type":"trade","data":[{', b"nobody's", b"9" * 5_000_000]
    strange = pack_key(source_mark(scene.source), Frame(secrets.randbits(60) | 1, 0, 1_700_000_000 * 10**9, b""))
    async with Kafka(BusSettings(kind="kafka", servers=[scene.wires.address])) as bus:
        for partition, keys in ((0, [strange, b"", b""]), (1, [b"", b"", b""])):
            await bus.append(scene.source, partition, keys, bad)
    count = await scene.recover()
    rejected = scene.rejected()[len(before) :]
    assert sorted(row[:20] for row in rejected) == sorted(2 * [value[:20].decode() for value in bad])
    verdict("8", count, "each rejected once")


async def test_fault_13_a_full_spool_sheds_and_records_gaps(scene: Scene, verdict: Verdict) -> None:
    """13: Kafka cannot be reached until the spool is full; what is shed is in gaps, the spool stays in its bounds."""
    limit = 100_000
    assert await scene.daemon.stop() == 0
    daemon = await scene.start(streams={"spool_bytes": limit})
    await scene.wait_for_flow()
    scene.wires.refusing = True
    scene.wires.reset()
    await until(lambda: shed(scene, 500), "500 frames are shed", every=0.1)
    assert await scene.metric("spool_bytes", scene.source) <= limit
    await scene.wait_until_holding("the spool is full")
    scene.wires.healthy()
    count = await scene.recover()
    assert "spool full" in scene.causes()
    assert not daemon.find_events("frames missing")  # what was shed is not looked for on the bus
    assert await daemon.stop() == 0
    await scene.start()
    verdict("13", count)


async def shed(scene: Scene, frames: int) -> bool:
    return await scene.metric("frames_shed_total", scene.source) >= frames


async def test_fault_10_a_wiped_kafka_is_a_new_epoch_and_nothing_is_lost(scene: Scene, verdict: Verdict) -> None:
    """10: frames that Kafka acknowledged and nobody drained are gone; the spool has them, and sends them again."""
    epoch, before = scene.epoch(), await gaps_before(scene)
    with scene.frozen_engine():
        drained = scene.drained()
        await until(lambda: acknowledged(scene, drained + 1_000), "Kafka has 1,000 frames that are not drained")
        await scene.kafka.wipe()
    await until(lambda: scene.epoch() == epoch + 1, "a new epoch", seconds=60)
    count = await scene.recover()
    assert scene.daemon.find_events("log lost")
    assert "log lost" in scene.causes()
    assert all_sent_again(scene, count, before)
    verdict("10", count, "all of them sent again")


async def gaps_before(scene: Scene) -> tuple[int, int]:
    """Before a fault: how many ticks are in gaps, and how many gaps come of a busy machine."""
    return (await scene.settle()).in_gaps, scene.count_busy_gaps()


def all_sent_again(scene: Scene, count: Count, before: tuple[int, int]) -> bool:
    """No more ticks are in gaps than before, unless a gap of a busy machine was recorded meanwhile."""
    in_gaps, busy_gaps = before
    return count.in_gaps == in_gaps or scene.count_busy_gaps() > busy_gaps


async def acknowledged(scene: Scene, offset: int) -> bool:
    async with Kafka(BusSettings(kind="kafka", servers=[scene.kafka.address])) as bus:
        return sum(ends.end for ends in (await bus.ends(scene.source)).values()) >= offset


async def test_fault_14_records_deleted_before_they_were_read_come_from_the_spool(
    scene: Scene, verdict: Verdict
) -> None:
    """14: retention was too short; a gap records it, the drain goes on, and the spool sends again what is missing."""
    before, holds = await gaps_before(scene), len(scene.daemon.find_events("drain held"))
    with scene.frozen_engine():
        drained = scene.drained()
        await until(lambda: acknowledged(scene, drained + 1_000), "Kafka has 1,000 frames that are not drained")
        async with Kafka(BusSettings(kind="kafka", servers=[scene.kafka.address])) as bus, scene.admin() as admin:
            ends = await bus.ends(scene.source)
            all_of = {TopicPartition(scene.source, at): RecordsToDelete(one.end) for at, one in ends.items()}
            await admin.delete_records(all_of)
        await scene.wait_for_ticks(500)
    count = await scene.recover()
    assert all_sent_again(scene, count, before)
    assert len(scene.daemon.find_events("drain held")) - holds < 10
    verdict("14", count, "all of them sent again")


@pytest.mark.parametrize("what", ["deleted", "created again"])
async def test_a_topic_that_is_deleted_or_created_again(what: str, scene: Scene, verdict: Verdict) -> None:
    """The committed offset of the old topic reappears in the new one. Reading it would skip rows, so it is not read."""
    epoch, before = scene.epoch(), await gaps_before(scene)
    async with scene.admin() as admin, Kafka(BusSettings(kind="kafka", servers=[scene.kafka.address])) as bus:
        await admin.delete_topics([scene.source])
        if what == "created again":
            await bus.ensure(Topic(scene.source, 2))
    await until(lambda: scene.epoch() == epoch + 1, "a new epoch", seconds=60)
    count = await scene.recover()
    assert all_sent_again(scene, count, before)
    verdict(f"topic {what}", count, "all of them sent again")


async def test_offsets_that_expired_at_kafka_are_not_missed(scene: Scene, verdict: Verdict) -> None:
    """The consumer group has expired; positions are in our own ledger."""
    epoch = scene.epoch()
    assert await scene.daemon.stop() == 0
    async with Kafka(BusSettings(kind="kafka", servers=[scene.kafka.address])) as bus:
        answer = await bus._brokers.send(DeleteGroupsRequest([f"spotlightd-{scene.source}"]))
        assert [code for _, code in answer.results] == [0]
    await scene.start()
    count = await scene.recover()
    assert scene.epoch() == epoch
    verdict("committed offsets gone", count)


async def test_messages_that_are_too_large_for_the_topic_wait_until_it_takes_them(
    scene: Scene, verdict: Verdict
) -> None:
    """max.message.bytes is lowered below the size of a batch, then raised: held with an alarm, then all frames arrive."""
    async with scene.admin() as admin:
        await limited(admin, scene, 300)
        await scene.wait_until_holding("MessageSizeTooLarge", seconds=30)
        await limited(admin, scene, 1 << 20)
    count = await scene.recover()
    await scene.wait_until_ready()
    verdict("message size", count)


async def limited(admin: Any, scene: Scene, size: int) -> None:
    resource = ConfigResource(ConfigResourceType.TOPIC, scene.source, {"max.message.bytes": str(size)})
    await admin.alter_configs([resource])


async def test_a_kafka_that_ends_on_a_full_disk_and_comes_back(scene: Scene, broker: Broker, verdict: Verdict) -> None:
    """Kafka ends on a full disk. The spool takes everything until Kafka is started again with some space."""
    if broker.disk is None:
        pytest.skip("no small disk can be mounted: A FULL DISK OF KAFKA IS NOT TESTED HERE; run as root")
    broker.disk.fill()
    await until(lambda: ended(scene.kafka), "Kafka has ended", seconds=60, every=0.1)
    await scene.wait_for_ticks(1_000)
    broker.disk.clear()
    scene.kafka.kill()
    await scene.kafka.start()
    verdict("disk of Kafka full", await scene.recover())


def ended(kafka: Broken) -> bool:
    return kafka._broker is None or kafka._broker.poll() is not None


async def test_fault_6_an_engine_that_stands_still_does_a_statement_once(scene: Scene, verdict: Verdict) -> None:
    """6: the engine is stopped until a statement has timed out, and goes on with it when it wakes."""
    held = len(scene.daemon.find_events("drain held"))
    with scene.frozen_engine():
        await scene.daemon.wait_for("drain held", times=held + 1)
    verdict("6", await scene.recover())


async def test_fault_7_a_table_that_takes_nothing_stops_the_stream_with_an_alarm(
    scene: Scene, verdict: Verdict
) -> None:
    """7: the table is gone; the alarm comes within 10 s, nothing advances, and all goes on once it is back."""
    async with scene.reading() as opened:
        await opened.execute("RENAME TABLE trades TO trades_elsewhere")
        await scene.wait_until_holding("trades")
        drained = scene.drained()
        await scene.wait_for_ticks(1_000)
        assert scene.drained() == drained
        await opened.execute("RENAME TABLE trades_elsewhere TO trades")
    verdict("7", await scene.recover())
    await scene.wait_until_ready()
