"""The table of faults in docs/reliability.md, from what a run of the tests wrote down: `make faults`."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- faults -->", "<!-- /faults -->"


@dataclass(frozen=True, slots=True)
class Fault:
    """One row: what is done. Counted by the tests here under `name`; or `where` it is tested otherwise, or why not."""

    name: str
    done: str
    where: str = ""


FAULTS = (
    Fault("1, 2, 5", "SIGKILL between intent and done, before, within and after the inserts; started again with another size of batches"),
    Fault("3", "15 SIGKILLs of daemon, engine and Kafka in turn, at 2,000 ticks/s"),
    Fault("4, 44, 45", "batches across midnight in UTC, New York and Tokyo and both changes of summer time, drained by daemons in three time zones"),
    Fault("4", "killed within a batch across midnight, at each step", "`tests/flows/test_drain.py`, bus in memory"),
    Fault("6", "engine stands still until a statement has timed out"),
    Fault("7", "the table of trades is renamed; alarm within 10 s"),
    Fault("8", "bad JSON, records without a key, 5 MB of nothing in the topic"),
    Fault("9", "Kafka SIGSTOP, SIGCONT"),
    Fault("10", "Kafka SIGKILL, started with an empty log, while the engine lags"),
    Fault("11", "Kafka's answers swallowed, requests passed"),
    Fault("12", "connections to Kafka cut off in mid-produce"),
    Fault("12", "OutOfOrderSequence itself", "`tests/streams/test_bus_faults.py`, the client alone at the real broker"),
    Fault("13", "Kafka unreachable until the spool is full"),
    Fault("13", "of several feeds those of lower priority are shed first", "`tests/clients/test_spool.py`"),
    Fault("14", "records deleted at Kafka before they were read"),
    Fault("15", "two daemons on one state folder", "`tests/daemon/test_start.py`"),
    Fault("16", "the venue closes or cuts off, three times"),
    Fault("16", "the venue hangs up for an hour: at most 10 connections a minute", "`tests/flows/test_listen.py`, clock of hand"),
    Fault("17", "pings answered, no frame"),
    Fault("18", "quiet market, the venue's own pings"),
    Fault("19", "holes in a venue's numbers, late and double frames, refill", "`tests/flows/test_listen.py`; Finnhub's frames have no numbers"),
    Fault("20", "hole between snapshot and first update", "does not apply: a feed of trades has no snapshot"),
    Fault("21", "half-open connection"),
    Fault("22", "burst of 100 times the rate for 5 s"),
    Fault("23", "cut-off, deep, non-UTF-8, NaN and empty frames; one above 16 MiB"),
    Fault("51", "a flow raises, hangs, blocks the loop", "`tests/daemon/test_hanging.py`"),
    Fault("52", "SIGTERM under load; SIGTERM twice"),
    Fault("52, nobody answers", "SIGTERM while Kafka, then the engine, stand still"),
    Fault("topic made anew by nobody", "topic deleted under the running daemon"),
    Fault("topic made anew by somebody else", "topic deleted and made anew at once by somebody else"),
    Fault("committed offsets gone", "the consumer group is deleted while the daemon is off"),
    Fault("message size", "`max.message.bytes` of the topic lowered below a batch, then raised"),
    Fault("disk of Kafka full", "the disk of Kafka fills up, Kafka ends; some space, and started again"),
    Fault("clock", "the clock of the box steps 2 h forward and back"),
    Fault("chaos, 20 s", "kills, stops, freezes, wipes, cut and slow wires, hang-ups, garbage and bursts in any order for 20 s (`make chaos` for longer)"),
)  # fmt: skip


def rows(counted: list[dict[str, Any]]) -> list[str]:
    """Rows of Markdown; a fault that no test counted says so."""
    by_name = {one["fault"]: one for one in counted}
    told = []
    for fault in FAULTS:
        one = by_name.pop(fault.name, None) if not fault.where else None
        number = fault.name if fault.name[0].isdigit() else "-"
        if one:
            told.append(
                f"| {number} | {fault.done} | {one['made']:,} | {one['in_gaps']:,} | {one['lost']} | {one['doubled']} | {one['says']} |"
            )
        else:
            told.append(f"| {number} | {fault.done} | | | | | {fault.where or '**not counted in this run**'} |")
    told += [f"| - | {name} | | | | | in no list of ours |" for name in by_name]
    return told


def main(path: str) -> int:
    counted = json.loads(Path(path).read_text(encoding="utf-8"))
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    day = datetime.now(UTC).date()
    where = f"Counted on {day}: {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}."
    table = [
        BEGIN, "", where, "",
        "| no. | fault | ticks made | in gaps | lost | doubled | |", "|---|---|---:|---:|---:|---:|---|",
        *rows(counted), "", END,
    ]  # fmt: skip
    PAGE.write_text(head + "\n".join(table) + tail, encoding="utf-8")
    print("\n".join(table))
    return 1 if any(one["lost"] or one["doubled"] or one["strange"] for one in counted) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
