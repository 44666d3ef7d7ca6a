"""Lives of swap trades: what a new day of messages costs when two years are there, and putting all together from nothing.

The messages are constructed by the engine: 27,400 a day with the mix of actions of a real day of interest rates (37 % new,
40 % changed, 12 % ended, 9 % corrected, 2 % withdrawn). Two thirds of the pointers lead to a message of the same day, the
others back by a number of days whose logarithm is even, up to two years; seven of ten lead to the first message, the others
to any. Times are processor seconds of the daemon and the engine, merges of the tables included, without the insert of the
messages themselves.

first_ms, last_ms   a new day in the first and in the last month, the mean of DAYS days
rebuild_s           all lives from nothing: processor time and wall time
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from small import processor_seconds

from spotlightd import log
from spotlightd.datasets.swap_trades import lives
from spotlightd.datasets.swaps import swaps
from spotlightd.model.source import Batch
from spotlightd.runtime.derivations import make_derivation_runner
from spotlightd.runtime.instance import Instance, open_instance
from spotlightd.settings.settings import Settings
from spotlightd.sources.sec_ftd import source as sec_ftd

A_DAY, DAYS, MONTH, FIRST_DAY = 27_400, 10, 30, date(2024, 11, 1)
SOURCE: Batch = replace(sec_ftd, name="constructed_swaps", datasets=(swaps,))
NEW = [place for place in range(100) if place * 37 % 100 < 37]
MESSAGES = """
INSERT INTO swaps (publisher, regime, report_date, asset_class, schema_version, message_id, original_id, action, action_printed,
    event_time, execution_time, upi_fisn, upi_underlier, notional_1, notional_currency_1, fixed_rate_1, effective_date,
    expiration_date, cleared, venue, load_id, member, line)
WITH number + {day:UInt64} * {a_day:UInt64} AS place, place * 37 % 100 AS kind, cityHash64(place) AS luck,
    if(luck % 3 > 0, intDiv(luck, 3) % 20000, toUInt64({a_day:UInt64} * exp(log(730) * (intDiv(luck, 3) % 1000000) / 1e6))) AS age,
    toInt64(place) - 1 - toInt64(age) AS any_before,
    if(intDiv(luck, 7) % 10 < 7, any_before - any_before % 100 + {new:Array(UInt64)}[intDiv(luck, 11) % length({new:Array(UInt64)}) + 1], any_before) AS before
SELECT 'DTCC', 'CFTC', {date:Date}, 'IR', 'V4', toString(1000000000000000000 + toInt64(place)),
    if(kind < 37, '', toString(1000000000000000000 + least(before, toInt64(place) - 1))),
    multiIf(kind < 37, 'NEW', kind < 77, 'MODIFY', kind < 89, 'TERMINATE', kind < 98, 'CORRECT', 'ERROR'),
    multiIf(kind < 37, 'NEWT', kind < 77, 'MODI', kind < 89, 'TERM', kind < 98, 'CORR', 'EROR'),
    toDateTime64({date:Date}, 6, 'UTC') + toIntervalSecond(number * 3), toDateTime64({date:Date}, 6, 'UTC'),
    'Rates Swap Fxd Flt OIS', concat('USD-SOFR-OIS Compound ', toString(luck % 50)), luck % 1000 * 100000, 'USD',
    (luck % 500) / 10000, {date:Date}, {date:Date} + luck % 3650, 'Y', 'XOFF', {load_id:UInt64}, 0, number + 2
FROM numbers({a_day:UInt64})"""


async def add_day(instance: Instance, day: int, a_day: int) -> None:
    when = FIRST_DAY + timedelta(days=day)
    digest = hashlib.sha256(f"constructed {when}".encode()).hexdigest()
    load = await instance.ledger.begin_load(SOURCE, digest, f"{when:%Y/%m/%d}")
    await instance.warehouse.execute(
        MESSAGES, {"day": day, "date": when, "load_id": load.load_id, "a_day": a_day, "new": NEW}
    )
    await instance.publications.publish(await instance.ledger.mark_loaded(load.load_id, {"swaps": a_day}, ()))


async def measure_days(instance: Instance, first: int, a_day: int) -> float:
    """Milliseconds of processor time of a day, the mean of DAYS days."""
    runner, spent = make_derivation_runner(lives, instance), 0.0
    for day in range(first, first + DAYS):
        await add_day(instance, day, a_day)
        before = sum(processor_seconds(instance).values())
        await runner.run_round()
        spent += sum(processor_seconds(instance).values()) - before
    return round(1000 * spent / DAYS, 1)


async def measure(days: int, a_day: int, folder: Path) -> dict[str, Any]:
    log.configure("warning")
    async with open_instance(replace(Settings(), state_dir=folder)) as instance:
        runner = make_derivation_runner(lives, instance)
        await add_day(instance, 0, a_day)
        await runner.run_round()
        first = await measure_days(instance, 1, a_day)
        for day in range(1 + DAYS, days - DAYS):
            await add_day(instance, day, a_day)
            if day % MONTH == 0:
                _tell(f"day {day} of {days}")
                await runner.run_round()
        await runner.run_round()
        last = await measure_days(instance, days - DAYS, a_day)
        _tell("from nothing")
        before, began = sum(processor_seconds(instance).values()), time.perf_counter()
        assert await runner.compute_again() == days * a_day
        wall = time.perf_counter() - began
        rebuilt = sum(processor_seconds(instance).values()) - before
        trades = (await instance.warehouse.rows("SELECT sum(change) FROM swap_trades WHERE load_id IN (SELECT load_id FROM"
            " loads WHERE dataset = 'swap_trades' AND load_id NOT IN (SELECT arrayJoin(supersedes) FROM loads))")).rows[0][0]  # fmt: skip
    return {
        "messages": days * a_day, "trades": trades, "first_ms": first, "last_ms": last, "growth": round(last / first, 2),
        "rebuild_s": {"processor": round(rebuilt, 1), "wall": round(wall, 1)},
    }  # fmt: skip


def _tell(text: str) -> None:
    print(f"   {text}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=730, help="730 days of 27,400 messages are 20 million")
    parser.add_argument("--a-day", type=int, default=A_DAY, help="messages a day")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="spotlightd-lives-"))
    try:
        print(json.dumps(asyncio.run(measure(arguments.days, arguments.a_day, folder)), indent=1))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
