"""The daemon at rest: memory, processor, and the time from the start until it is ready.

A real `spotlightd run` on a folder with the demo's data; embedded engine; nothing is fetched. Resident memory and
processor time of each process, from /proc, over `--seconds 30`; the start is the time from the command to the first
200 of /readyz, the median of `--starts 5`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil

COMMAND = [sys.executable, "-m", "spotlightd"]
READY_SECONDS = 60.0


def start_daemon(config: Path, state: Path) -> tuple[subprocess.Popen[bytes], float]:
    """Start a daemon and wait until it answers. Returns it, and the seconds until then."""
    began = time.monotonic()
    process = subprocess.Popen([*COMMAND, "run", "--config", str(config)], stderr=subprocess.DEVNULL)
    while time.monotonic() - began < READY_SECONDS:
        try:
            endpoint = json.loads((state / "daemon.json").read_text(encoding="utf-8"))
            if endpoint["pid"] == process.pid:
                with urllib.request.urlopen(endpoint["web"] + "/readyz", timeout=5) as answer:
                    answer.read()
                return process, time.monotonic() - began
        except (FileNotFoundError, ValueError, urllib.error.URLError):
            time.sleep(0.01)
    process.kill()
    raise TimeoutError("the daemon did not become ready")


def stop_daemon(process: subprocess.Popen[bytes]) -> float:
    """Seconds from SIGTERM to the end."""
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    return time.monotonic() - began


def process_kind(process: psutil.Process) -> str:
    command = " ".join(process.cmdline())
    return "engine" if "spotlightd.engine" in command else "parser" if "spotlightd.workers" in command else "daemon"


def at_rest(process: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
    """Memory and share of a core of each process, measured from 5 s after the start."""
    time.sleep(5)
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    before = {member.pid: sum(member.cpu_times()[:2]) for member in family}
    time.sleep(seconds)
    return {
        process_kind(member): {
            "rss_mb": round(member.memory_info().rss / 1e6, 1),
            "percent_of_a_core": round((sum(member.cpu_times()[:2]) - before[member.pid]) / seconds * 100, 2),
        }
        for member in family
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--starts", type=int, default=5)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="spotlightd-rest-"))
    try:
        state, config = folder / "state", folder / "spotlightd.toml"
        subprocess.run(
            [*COMMAND, "demo", "sec_ftd", "--once", "--state", str(state)],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        config.write_text(
            f'state_dir = "{state}"\n[web]\nport = 18080\n[schedule]\nenabled = false\n', encoding="utf-8"
        )
        starts, stops, resting = list[float](), list[float](), dict[str, Any]()
        for number in range(arguments.starts):
            process, seconds = start_daemon(config, state)
            starts.append(seconds)
            resting = at_rest(process, arguments.seconds) if number == 0 else resting
            stops.append(stop_daemon(process))
        print(json.dumps({
            "start_seconds": round(statistics.median(starts), 2), "start_seconds_most": round(max(starts), 2),
            "stop_seconds": round(statistics.median(stops), 2), "at_rest": resting,
        }, indent=2))  # fmt: skip
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
