"""Runs the benchmarks one after another and prints their results and the machine as one JSON object.

A benchmark is a file beside this one whose name does not begin with `_`. Run alone, it prints one JSON object on
standard output and its progress on standard error; ratios are taken within one run. `make bench` runs all of them at sizes
that take 20 minutes in all (_sizes.py). `make bench ARGS="ingest web"` runs some at their own, larger sizes. Arguments after
`--` go to each benchmark. One that fails has an `error` in the report, and the others run nevertheless.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from _sizes import LEAST, TOGETHER

FOLDER = Path(__file__).parent
LONGEST_SECONDS = 3600
PACKAGES = ("spotlightd", "chdb-core", "clickhouse-connect", "pyarrow", "numpy", "pandas", "dlt")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    available = {path.stem: path for path in sorted(FOLDER.glob("*.py")) if path.stem != "run" and path.stem[0] != "_"}
    unknown = sorted(set(arguments.names) - set(available))
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}; there are: {', '.join(available) or 'none'}", file=sys.stderr)
        return 2
    report: dict[str, Any] = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine()}
    results = report["benchmarks"] = {}
    for name in arguments.names or available:
        results[name] = run(available[name], choose_size(arguments, name))
        if arguments.out:  # after each: what was measured stays when the rest is stopped
            arguments.out.write_text(render(report), encoding="utf-8")
    print(render(report), end="")
    return 1 if any("error" in result for result in results.values()) else 0


def render(report: Mapping[str, Any]) -> str:
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


def choose_size(arguments: argparse.Namespace, name: str) -> list[str]:
    """The arguments of a benchmark. Those after `--` come last and win."""
    size = LEAST[name] if arguments.least else "" if arguments.names else TOGETHER[name]
    return [*size.split(), *arguments.rest]


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    at = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run; all of them without a name")
    parser.add_argument("--least", action="store_true", help="as small as possible, to see that they work")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the report there too, after each benchmark")
    parsed = parser.parse_args(argv[:at])
    parsed.rest = list(argv[at + 1 :])
    return parsed


def run(path: Path, rest: Sequence[str]) -> dict[str, Any]:
    """The output of one benchmark, its arguments, and the seconds it took; `error` if it failed."""
    print(f"== {path.stem}", file=sys.stderr, flush=True)
    began = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, str(path), *rest],
            cwd=FOLDER.parent,
            stdout=subprocess.PIPE,
            timeout=LONGEST_SECONDS,
            check=True,
        )
        result: dict[str, Any] = {"measured": json.loads(done.stdout)}
    except subprocess.CalledProcessError as error:
        result = {"error": f"ended with status {error.returncode}"}
    except subprocess.TimeoutExpired:
        result = {"error": f"took longer than {LONGEST_SECONDS} s"}
    except ValueError as error:
        result = {"error": f"printed something that is not JSON: {error}"}
    return {"arguments": " ".join(rest), **result, "seconds": round(time.monotonic() - began, 1)}


def machine() -> dict[str, Any]:
    """The machine that the figures depend on: processor, cores, memory, system, versions."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": dict(filter(None, map(find_version, PACKAGES))),
    }


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def find_version(name: str) -> tuple[str, str] | None:
    try:
        return name, version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
