"""The engine's own process, which looks into one folder more: the `config.d` beside its file, as a server has it.

A server reads its folder for as long as it lives; our daemon's engine has no such folder, and may not read one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import patch

from spotlightd.engine import __main__ as launcher
from spotlightd.engine import configuration
from spotlightd.model.bucket import Reach


def main() -> None:
    told = configuration.read(sys.stdin.readline())
    reached = launcher._reached

    def with_folder(bucket: Reach) -> tuple[list[Path], list[int]]:
        paths, ports = reached(bucket)
        return [Path(told.folder) / "config.d", *paths], ports

    with patch.object(launcher, "_reached", with_folder):
        launcher.launch(told)


if __name__ == "__main__":
    main()
