"""Invented rows of fails to deliver, in published loads, for web.py."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from spotlightd.datasets.system import loads
from spotlightd.runtime.instance import open_instance
from spotlightd.settings.settings import Settings
from spotlightd.sources.sec_ftd import sec_ftd

SYMBOLS = 6_000
DAYS = 10
FIRST = date(2004, 3, 22)


@dataclass(frozen=True, slots=True)
class Scale:
    """`rows` in `loads`; each load has `DAYS` settlement days, 15 days apart from the next load's first."""

    rows: int
    loads: int

    @property
    def rows_a_load(self) -> int:
        return max(self.rows // self.loads, DAYS)

    def day_after(self, rows: int) -> date:
        """The day before which the table has about that many rows."""
        return FIRST + timedelta(days=15 * max(round(rows / self.rows_a_load), 1))


async def fill(state: Path, scale: Scale) -> None:
    """Insert the rows, and one publication for each load. Merge the parts: unmerged ones would change the figures."""
    async with open_instance(replace(Settings(), state_dir=state)) as instance:
        warehouse = instance.warehouse
        for start in range(0, scale.loads, 50):
            count = min(50, scale.loads - start) * scale.rows_a_load
            print(f"filling: load {start} of {scale.loads}", file=sys.stderr, flush=True)
            await warehouse.execute(_rows(scale, start, count))
        began = datetime(2024, 1, 1, tzinfo=UTC)
        rows: list[tuple[Any, ...]] = [
            (seq, sec_ftd.name, seq, "sec_ftd", f"{seq:06d}", f"{seq:064x}", "1", scale.rows_a_load, 0, [],
             began + timedelta(minutes=seq), 0)
            for seq in range(1, scale.loads + 1)
        ]  # fmt: skip
        await warehouse.insert(loads, rows)
        await warehouse.execute("OPTIMIZE TABLE sec_ftd FINAL")


def _rows(scale: Scale, start: int, count: int) -> str:
    """All symbols have about the same number of rows; a price is missing in one row of fifty."""
    load = f"intDiv(number, {scale.rows_a_load}) + {start}"
    within = f"number % {scale.rows_a_load}"
    names = ", ".join(column.name for column in sec_ftd.stored)
    return (
        f"INSERT INTO sec_ftd ({names}) SELECT toDate('{FIRST}') + ({load}) * 15 + intDiv({within} * {DAYS}, {scale.rows_a_load}), "
        f"leftPad(toString(({within}) % {SYMBOLS}), 9, '0'), concat('S', toString(({within}) % {SYMBOLS})), "
        f"cityHash64(number, {start}) % 1000000, concat('COMPANY ', toString(({within}) % {SYMBOLS}), ' COM'), "
        f"if(cityHash64(number) % 50 = 0, NULL, toDecimal64(cityHash64(number, 7) % 100000 / 100, 4)), "
        f"{load} + 1, 0, {within} + 2 FROM numbers({count}) SETTINGS max_partitions_per_insert_block = 1000, max_threads = 2"
    )
