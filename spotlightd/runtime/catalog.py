"""Every source there is: the modules of `spotlightd/sources`, then the files of the operator's own folder.

Sources are found by looking, not by registering: a module-level `Batch` or `Stream` is one. The operator's folder is `sources` in
the state folder; only `.py` files directly in it are read, and an underscore before the name leaves one out.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spotlightd import sources as built_in
from spotlightd.datasets.bars import minutely
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.errors import SettingsError
from spotlightd.model.dataset import DRILL_PREFIX, REBUILD_PREFIX, Dataset
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream, frames_of
from spotlightd.model.transform import Transform
from spotlightd.settings.settings import Settings
from spotlightd.workers import loader

TRANSFORMS = (minutely,)
VIEWS = ("current", "all")  # what the name of a view has behind that of its dataset


@dataclass(frozen=True, slots=True)
class Catalog:
    """`sources` publish documents, `streams` send messages; `places` says where each stands: a module or a file."""

    sources: tuple[Batch, ...]
    streams: tuple[Stream, ...]
    places: Mapping[str, str]

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        """All datasets that the sources feed, each once, by name; of streams their frames too. Then what is made of them."""
        fed = [each.datasets for each in self.sources] + [(*each.datasets, frames_of(each)) for each in self.streams]
        by_name = {dataset.name: dataset for some in fed for dataset in some}
        made = [
            dataset for transform in TRANSFORMS if transform.input.name in by_name for dataset in transform.datasets
        ]
        return (*(by_name[name] for name in sorted(by_name)), *made)

    @property
    def feeds(self) -> Mapping[str, Batch | Stream]:
        """All sources and streams, by name."""
        every: tuple[Batch | Stream, ...] = (*self.sources, *self.streams)
        return {one.name: one for one in every}

    @property
    def transforms(self) -> tuple[Transform, ...]:
        """Those whose dataset is fed by a source."""
        return tuple(one for one in TRANSFORMS if one.dataset in self.datasets)


def load_catalog(settings: Settings | None = None) -> Catalog:
    """The built-in sources, and with settings the operator's too. SettingsError for a file that cannot be loaded, and
    for two sources or two different datasets of one name.
    """
    found: dict[str, Batch | Stream] = {}
    places: dict[str, str] = {}
    for place in (*_modules(), *(_files(settings.state_dir / "sources") if settings else ())):
        for source in loader.load_sources(place):
            if found.get(source.name) is source:  # imported by another source
                continue
            if source.name in found:
                raise SettingsError(f"two sources are called {source.name}: in {places[source.name]} and in {place}")
            found[source.name], places[source.name] = source, place
    _refuse_twins(found, places)
    batches = tuple(one for one in found.values() if isinstance(one, Batch))
    streams = tuple(one for one in found.values() if isinstance(one, Stream))
    return Catalog(batches, streams, places)


def load_source(path: Path) -> Batch:
    """The one source in a file. SettingsError when it holds none or several."""
    if not path.is_file():
        raise SettingsError(f"there is no source file {path}")
    found = [one for one in loader.load_sources(str(path)) if isinstance(one, Batch)]
    if len(found) != 1:
        raise SettingsError(f"source file {path} must hold one Batch, not {len(found)}")
    return found[0]


def _modules() -> list[str]:
    return [f"{built_in.__name__}.{module.name}" for module in pkgutil.iter_modules(built_in.__path__)]


def _files(folder: Path) -> list[str]:
    return sorted(str(path.resolve()) for path in folder.glob("*.py") if not path.name.startswith("_"))


def _refuse_twins(found: Mapping[str, Batch | Stream], places: Mapping[str, str]) -> None:
    known: dict[str, tuple[Dataset, str]] = {
        dataset.name: (dataset, "the house itself")
        for dataset in (*SYSTEM_DATASETS, *(one.dataset for one in TRANSFORMS))
    }
    for name, source in found.items():
        frames = [frames_of(source)] if isinstance(source, Stream) else []
        for dataset in (*source.datasets, *frames):
            other, place = known.setdefault(dataset.name, (dataset, places[name]))
            if other != dataset:
                raise SettingsError(
                    f"two different datasets are called {dataset.name}: in {place} and in {places[name]}"
                )
    for name, (_, place) in known.items():
        stem, _, view = name.rpartition("_")
        if name.startswith((REBUILD_PREFIX, DRILL_PREFIX)) or (view in VIEWS and stem in known):
            raise SettingsError(f"no dataset may be called {name}, in {place}: names like that are ours")
