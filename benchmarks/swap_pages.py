"""The pages of swaps with two years of messages: `/swaps`, its filters, the life of a trade, a symbol with swaps.

A real `spotlightd run` on `--days 730` days of 27,400 messages, constructed by the engine: the pointers and actions of
`lives`; 45 % rates on 60 indexes, 35 % equities on 6,000 ISINs, 20 % credit on 400 names, some of them frequent. What is traded
has one instrument and one of four currencies. The derived datasets are computed first, and their rows are counted. The daemon runs on its own afterwards.

pages        of each address: p50 and p95 in ms of `--times 40` requests, one after the other, and processor ms of daemon and
             engine for each: these hold on a machine that does other things too
derived      rows of each derived dataset, and processor seconds for computing it from nothing
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
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from lives import FIRST_DAY, NEW, SOURCE
from small import processor_seconds
from web import Bench, _cpu, _get, _spread, run_daemon

from spotlightd import log
from spotlightd.datasets import swap_days, swap_live, swap_underliers
from spotlightd.datasets.swap_trades import lives
from spotlightd.runtime.derivations import make_derivation_runner
from spotlightd.runtime.instance import Instance, open_instance
from spotlightd.settings.settings import Settings

A_DAY = 27_400
DERIVATIONS = (swap_days.derivation, swap_underliers.derivation, lives, swap_live.derivation)
MESSAGES = f"""
INSERT INTO swaps (publisher, regime, report_date, asset_class, schema_version, message_id, original_id, action, action_printed,
    event_time, execution_time, upi_fisn, upi_underlier, underlier_ids, underlier_sources, notional_1, notional_1_capped,
    notional_currency_1, fixed_rate_1, effective_date, expiration_date, cleared, venue, load_id, member, line)
WITH number + {{day:UInt64}} * {A_DAY} AS place, place * 37 % 100 AS kind, cityHash64(place) AS luck,
    if(luck % 3 > 0, intDiv(luck, 3) % 20000, toUInt64({A_DAY} * exp(log(730) * (intDiv(luck, 3) % 1000000) / 1e6))) AS age,
    toInt64(place) - 1 - toInt64(age) AS any_before,
    if(intDiv(luck, 7) % 10 < 7, any_before - any_before % 100 + {NEW}[intDiv(luck, 11) % {len(NEW)} + 1], any_before) AS before,
    intDiv(luck, 13) % 100 AS share, multiIf(share < 45, 'IR', share < 80, 'EQ', 'CR') AS class,
    toUInt64(multiIf(class = 'IR', 60, class = 'EQ', 6000, 400) * pow(intDiv(luck, 17) % 100000 / 1e5, 3)) AS subject
SELECT 'DTCC', if(class = 'IR', 'CFTC', 'SEC'), {{date:Date}}, class, 'V4', toString(1000000000000000000 + toInt64(place)),
    if(kind < 37, '', toString(1000000000000000000 + least(before, toInt64(place) - 1))),
    multiIf(kind < 37, 'NEW', kind < 77, 'MODIFY', kind < 89, 'TERMINATE', kind < 98, 'CORRECT', 'ERROR'),
    multiIf(kind < 37, 'NEWT', kind < 77, 'MODI', kind < 89, 'TERM', kind < 98, 'CORR', 'EROR'),
    toDateTime64({{date:Date}}, 6, 'UTC') + toIntervalSecond(number * 3), toDateTime64({{date:Date}}, 6, 'UTC'),
    concat('NA/Swap ', class, ' ', toString(subject % 12)), if(class = 'EQ', '', concat(class, ' index ', toString(subject))),
    if(class = 'EQ', [concat('US', leftPad(toString(subject), 9, '0'), '0')], []), if(class = 'EQ', ['ISIN'], []),
    luck % 1000 * 100000, luck % 20 = 0, ['USD', 'USD', 'USD', 'EUR', 'GBP', 'JPY'][subject % 6 + 1], (luck % 500) / 10000, {{date:Date}},
    {{date:Date}} + luck % 3650, 'Y', 'XOFF', {{load_id:UInt64}}, 0, number + 2
FROM numbers({A_DAY})"""


async def add_day(instance: Instance, day: int) -> None:
    when = FIRST_DAY + timedelta(days=day)
    digest = hashlib.sha256(f"constructed {when}".encode()).hexdigest()
    load = await instance.ledger.begin_load(SOURCE, digest, f"{when:%Y/%m/%d}")
    await instance.warehouse.execute(MESSAGES, {"day": day, "date": when, "load_id": load.load_id})
    await instance.publications.publish(await instance.ledger.mark_loaded(load.load_id, {"swaps": A_DAY}, ()))


async def fill(state: Path, days: int) -> dict[str, Any]:
    """All messages and what is derived of them; returns rows and processor seconds of each derived dataset."""
    results = {}
    async with open_instance(replace(Settings(), state_dir=state)) as instance:
        for day in range(days):
            await add_day(instance, day)
        for derivation in DERIVATIONS:
            print(f"   {derivation.name}", file=sys.stderr, flush=True)
            before = sum(processor_seconds(instance).values())
            await make_derivation_runner(derivation, instance).run_round()
            spent = sum(processor_seconds(instance).values()) - before
            rows = (await instance.warehouse.rows(f"SELECT count() FROM {derivation.dataset.name}")).rows[0][0]
            results[derivation.name] = {"stored_rows": rows, "processor_s": round(spent, 1)}
    return results


def choose_pages(days: int) -> dict[str, str]:
    """Addresses by what they show. The identifiers are those of the constructed messages."""
    first, last = FIRST_DAY, FIRST_DAY + timedelta(days=days - 1)
    everything = f"report_date__gte={first}&report_date__lte={last}"
    trade = 10**18 + (days // 2) * A_DAY + NEW.index(min(NEW)) * 100
    return {
        "swaps": "/swaps",
        "swaps, two years": f"/swaps?{everything}",
        "swaps, a stock": "/swaps?underlier=US0000000000",
        "swaps, a class, two years": f"/swaps?asset_class=EQ&{everything}",
        "a life": f"/swaps/DTCC/CFTC/{trade}",
    }


async def measure_page(bench: Bench, path: str, times: int) -> dict[str, Any]:
    await _get(bench, path)
    before, seconds, statements = _cpu(bench), [], 0
    for _ in range(times):
        began = time.perf_counter()
        statements = await _get(bench, path)
        seconds.append(1000 * (time.perf_counter() - began))
    after = _cpu(bench)
    cpu = {name: round(1000 * (after[name] - before[name]) / times, 1) for name in before}
    return {"ms": _spread(seconds), "processor_ms": cpu, "statements": statements}


async def measure(state: Path, days: int, times: int) -> dict[str, Any]:
    log.configure("warning")
    derived = await fill(state, days)
    async with run_daemon(state) as bench:
        await asyncio.sleep(20)  # the first rounds of derivations, which find nothing to do
        pages = {name: await measure_page(bench, path, times) for name, path in choose_pages(days).items()}
    return {"messages": days * A_DAY, "derived": derived, "pages": pages}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=730, help="of 27,400 messages; 730 are 20 million")
    parser.add_argument("--times", type=int, default=40)
    arguments = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(prefix="spotlightd-swap-pages-"))
    try:
        print(json.dumps(asyncio.run(measure(folder / "state", arguments.days, arguments.times)), indent=2))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
