"""A process that is killed while it appends to a local log: it says on stdout what was acknowledged, group by group.

    python -m tests.clients.bus_crash PATH

Each group goes to both partitions of the topic `constructed` in turn; record n of a partition says n, so that a reader
can tell a lost, doubled or torn group from a whole one. Old groups are trimmed meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
from pathlib import Path
from time import time_ns

from spotlightd.clients.locallog.bus import LocalLog
from spotlightd.model.bus import Frame, Topic, mark, packed

TOPIC = Topic("constructed", partitions=2)
KEEP = 3_000


def value_of(partition: int, number: int) -> bytes:
    return b"%d %d " % (partition, number) + random.Random(number).randbytes(number % 700)


async def append_on_and_on(path: Path) -> None:
    async with LocalLog(path, spare_bytes=0) as log:
        await log.ensure(TOPIC)
        print("ready", flush=True)
        for turn in itertools.count():
            partition = turn % 2
            ends = (await log.ends(TOPIC.name))[partition]
            numbers = range(ends.end, ends.end + 1 + turn * 37 % 200)
            keys = [packed(mark(TOPIC.name), Frame(partition + 1, one, time_ns(), b"")) for one in numbers]
            await log.append(TOPIC.name, partition, keys, [value_of(partition, one) for one in numbers])
            print(partition, numbers.stop, flush=True)
            if turn % 10 == 9:
                await log.trim(TOPIC.name, partition, numbers.stop - KEEP)


if __name__ == "__main__":
    asyncio.run(append_on_and_on(Path(sys.argv[1])))
