"""Every source there is: the modules of `spotlightd/sources`, then the files of the operator's own folder.

Sources are found by looking, not by registering: a module-level `Batch` is one. The operator's folder is `sources` in
the state folder; only `.py` files directly in it are read, and an underscore before the name leaves one out.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spotlightd import sources as built_in
from spotlightd.model.dataset import Dataset
from spotlightd.model.errors import SettingsError
from spotlightd.model.house import HOUSE
from spotlightd.model.settings import Settings
from spotlightd.model.source import Batch
from spotlightd.parse import authored


@dataclass(frozen=True, slots=True)
class Catalog:
    """`places` says where each source stands, by its name: a module or a file."""

    sources: tuple[Batch, ...]
    places: Mapping[str, str]

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        """All datasets that the sources feed, each once, by name."""
        by_name = {dataset.name: dataset for source in self.sources for dataset in source.datasets}
        return tuple(by_name[name] for name in sorted(by_name))


def catalog(settings: Settings | None = None) -> Catalog:
    """The built-in sources, and with settings the operator's too. SettingsError for a file that cannot be loaded, and
    for two sources or two different datasets of one name.
    """
    found: dict[str, Batch] = {}
    places: dict[str, str] = {}
    for place in (*_modules(), *(_files(settings.state_dir / "sources") if settings else ())):
        for source in authored.batches(place):
            if found.get(source.name) is source:  # imported by another source
                continue
            if source.name in found:
                raise SettingsError(f"two sources are called {source.name}: in {places[source.name]} and in {place}")
            found[source.name], places[source.name] = source, place
    _refuse_twins(found, places)
    return Catalog(tuple(found.values()), places)


def load_source(path: Path) -> Batch:
    """The one source in a file. SettingsError when it holds none or several."""
    if not path.is_file():
        raise SettingsError(f"there is no source file {path}")
    found = authored.batches(str(path))
    if len(found) != 1:
        raise SettingsError(f"source file {path} must hold one Batch, not {len(found)}")
    return found[0]


def _modules() -> list[str]:
    return [f"{built_in.__name__}.{module.name}" for module in pkgutil.iter_modules(built_in.__path__)]


def _files(folder: Path) -> list[str]:
    return sorted(str(path.resolve()) for path in folder.glob("*.py") if not path.name.startswith("_"))


def _refuse_twins(found: Mapping[str, Batch], places: Mapping[str, str]) -> None:
    known: dict[str, tuple[Dataset, str]] = {dataset.name: (dataset, "the house itself") for dataset in HOUSE}
    for name, source in found.items():
        for dataset in source.datasets:
            other, place = known.setdefault(dataset.name, (dataset, places[name]))
            if other != dataset:
                raise SettingsError(
                    f"two different datasets are called {dataset.name}: in {place} and in {places[name]}"
                )
