"""A process that is killed while it appends to a local log. It prints what was acknowledged, group by group.

    python -m tests.clients.bus_crash PATH

Groups go to the two partitions of the topic `constructed` in turn. Record n of a partition contains n, so that a reader
finds a lost, doubled or torn group. Old groups are trimmed meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
from pathlib import Path
from time import time_ns

from spotlightd.clients.locallog.bus import LocalLog
from spotlightd.model.bus import Frame, Topic, pack_key, source_mark

TOPIC = Topic("constructed", partitions=2)
KEEP = 3_000


def make_value(partition: int, number: int) -> bytes:
    return b"%d %d " % (partition, number) + random.Random(number).randbytes(number % 700)


async def append_for_ever(path: Path) -> None:
    async with LocalLog(path, spare_bytes=0) as log:
        await log.ensure(TOPIC)
        print("ready", flush=True)
        for turn in itertools.count():
            partition = turn % 2
            ends = (await log.ends(TOPIC.name))[partition]
            numbers = range(ends.end, ends.end + 1 + turn * 37 % 200)
            keys = [
                pack_key(source_mark(TOPIC.name), Frame(partition + 1, number, time_ns(), b"")) for number in numbers
            ]
            await log.append(TOPIC.name, partition, keys, [make_value(partition, number) for number in numbers])
            print(partition, numbers.stop, flush=True)
            if turn % 10 == 9:
                await log.trim(TOPIC.name, partition, numbers.stop - KEEP)


if __name__ == "__main__":
    asyncio.run(append_for_ever(Path(sys.argv[1])))
