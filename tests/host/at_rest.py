"""What each part of the box takes at rest, with the heaps and limits of a host of 4 GB and of one of 16 GB.

`python -m tests.host.at_rest`: installs a host, waits until nothing is left to do, and reads memory (Pss, so that shared pages
count once) and processor time of each unit's processes from /proc, over a minute. A container cannot be given less memory
than its machine has, so the heaps and limits are those that the roles give to such a host, and the rest is as on this machine.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.host.machine import Machine, run_machine
from tests.host.parts import digest
from tests.host.world import UNITS, VARIABLES, find_part, find_release, find_standins, wait_until_ready

GIBIBYTES = (4, 16)
SETTLE_SECONDS, MEASURE_SECONDS = 60.0, 60.0
# On the host: unit → [KiB of memory, seconds of processor time] of all its processes.
PROBE = """
import json, os, pathlib, sys
def read(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    pss = int(rollup.partition("Pss:")[2].split()[0])
    return pss, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
found = {}
for unit in sys.argv[1:]:
    pids = pathlib.Path(f"/sys/fs/cgroup/system.slice/{unit}.service/cgroup.procs").read_text().split()
    values = [read(pid) for pid in pids]
    found[unit] = [sum(value) for value in zip(*values)]
print(json.dumps(found))
"""


def main() -> None:
    report = dict[str, Any]()
    with tempfile.TemporaryDirectory() as name, run_machine(Path(name)) as machine:
        machine.variables.update(VARIABLES, release_file=str(find_release()), spotlightd_venues=[])
        machine.variables["object_store_minio_digest"] = digest(find_part("minio"))
        machine.variables["spotlightd_settings"] = {"schedule": {"enabled": False}}
        machine.variables.update(find_standins(Path(name)))
        for size in GIBIBYTES:
            sizes = size_parts(size << 10)
            play = machine.play(variables=sizes)
            assert play.failed == 0, play.output[-4000:]
            wait_until_ready(machine)
            report[f"{size} GB"] = {**sizes, "units": measure(machine)}
            print(f"{size} GB: done", file=sys.stderr)
    print(json.dumps(report, indent=2))


def size_parts(memory_mib: int) -> dict[str, int]:
    """The defaults of the roles for a host with that memory."""
    return {
        "kafka_heap_mib": min(max(memory_mib // 12, 320), 6144),
        "clickhouse_memory_mib": max(memory_mib * 4 // 10, 1024),
    }


def measure(machine: Machine) -> dict[str, dict[str, float]]:
    """MiB, and thousandths of one core."""
    (machine.root / "opt/probe.py").write_text(PROBE, encoding="utf-8")
    command = f"python3 /opt/probe.py {' '.join(UNITS)}"
    time.sleep(SETTLE_SECONDS)
    first = json.loads(machine.run(command))
    time.sleep(MEASURE_SECONDS)
    second = json.loads(machine.run(command))
    return {
        unit: {
            "mib": round(memory / 1024),
            "thousandths_of_a_core": round((seconds - first[unit][1]) / MEASURE_SECONDS * 1000, 1),
        }
        for unit, (memory, seconds) in second.items()
    }


if __name__ == "__main__":
    main()
