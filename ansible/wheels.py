"""The lines of the lock that one version of Python needs: `python ansible/wheels.py requirements.lock 3.13`.

pip decides by the Python that runs it; a release carries the wheels of each Debian's Python.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from packaging.requirements import Requirement

ENTRY = re.compile(r"^(?P<requirement>[A-Za-z0-9][^\\\n]*?)\s*\\\n(?P<digests>(?:    --hash=.*\n)+)", re.MULTILINE)


def select_entries(lock: str, version: str) -> str:
    """The entries whose markers hold for that version, without the markers."""
    environment = {"python_version": version, "python_full_version": f"{version}.0"}
    lines = []
    for entry in ENTRY.finditer(lock):
        requirement = Requirement(entry["requirement"])
        if requirement.marker is None or requirement.marker.evaluate(environment):
            requirement.marker = None
            lines.append(f"{requirement} \\\n{entry['digests']}")
    return "".join(lines)


if __name__ == "__main__":
    sys.stdout.write(select_entries(Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[2]))
