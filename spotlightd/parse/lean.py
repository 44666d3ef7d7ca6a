"""Arrow imports all of pandas at its first conversion, if it is installed: 50 MB and 0.3 s that nothing here uses."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder


class _WithoutPandas(MetaPathFinder):
    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        del path, target
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is left out on purpose", name="pandas")


def without_pandas() -> None:
    """For the whole process, from now on."""
    sys.meta_path.insert(0, _WithoutPandas())
