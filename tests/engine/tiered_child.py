"""The engine's own process, which looks into one folder more: the `config.d` beside its file, as a server has it.

A server reads its folder for as long as it lives; our daemon's engine has no such folder, and may not read one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import patch

from spotlightd.engine import __main__ as launcher
from spotlightd.engine import configuration
from spotlightd.model.bucket import EngineReach


def main() -> None:
    settings = configuration.from_json(sys.stdin.readline())
    list_paths = launcher._list_bucket_access

    def with_folder(bucket: EngineReach) -> tuple[list[Path], list[int]]:
        paths, ports = list_paths(bucket)
        return [Path(settings.folder) / "config.d", *paths], ports

    with patch.object(launcher, "_list_bucket_access", with_folder):
        launcher.launch(settings)


if __name__ == "__main__":
    main()
