"""All sources, transforms and derivations: modules of `spotlightd/sources` and `spotlightd/datasets`, and files of the operator's folder.

They are found by looking, not by registering: a module-level `Batch`, `Stream`, `Transform`, `Derivation` or `Reading` is
one. Sub-packages and folders
group the sources of one publisher (`sources/dtcc/cftc_rates.py`). The operator's folder is `sources` in the state folder. Its
`.py` files are read, but none in a folder called `golden`, and none whose name, or whose folder's, begins with an underscore
or a dot.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

from spotlightd import datasets as built_in_datasets
from spotlightd import sources as built_in_sources
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.errors import SettingsError
from spotlightd.model.dataset import DRILL_PREFIX, REBUILD_PREFIX, Dataset
from spotlightd.model.derivation import Derivation
from spotlightd.model.derived.transform import Reading, Transform
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream, frames_of
from spotlightd.settings.settings import Settings
from spotlightd.workers import loader

PACKAGES = (built_in_sources, built_in_datasets)
CASES = "golden"
VIEW_SUFFIXES = ("current", "all")
Declaration = Batch | Stream | Transform | Derivation | Reading


@dataclass(frozen=True, slots=True)
class Catalog:
    """`sources` publish documents, `streams` send messages, `transforms` and `derivations` compute rows from datasets that
    these feed, `readings` when they are read. `places` is the module or file of each source and stream.
    """

    sources: tuple[Batch, ...]
    streams: tuple[Stream, ...]
    places: Mapping[str, str]
    transforms: tuple[Transform, ...] = ()
    derivations: tuple[Derivation, ...] = ()
    readings: tuple[Reading, ...] = ()

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        """All datasets that the sources feed, each once, by name, with the frames of streams. Then those that are computed."""
        fed = _fed_datasets((*self.sources, *self.streams))
        return (*(fed[name] for name in sorted(fed)), *_fed_datasets((*self.computed, *self.readings)).values())

    @property
    def computed(self) -> tuple[Transform | Derivation, ...]:
        """What computes rows, each after those that it reads."""
        return (*self.transforms, *self.derivations)

    @property
    def feeds(self) -> Mapping[str, Batch | Stream]:
        """All sources and streams, by name."""
        sources: tuple[Batch | Stream, ...] = (*self.sources, *self.streams)
        return {source.name: source for source in sources}


def load_catalog(settings: Settings | None = None, packages: Sequence[ModuleType] = PACKAGES) -> Catalog:
    """The sources and transforms of the packages, and with settings the operator's too. SettingsError for a file that
    cannot be loaded, and for two sources or two different datasets of one name.

    What is computed from a dataset that nothing feeds is left out.
    """
    declarations: dict[str, Declaration] = {}
    places: dict[str, str] = {}
    for place in (*_list_modules(packages), *(map(str, list_source_files(settings.state_dir)) if settings else ())):
        for declaration in loader.load_declarations(place):
            name = declaration.name
            if declarations.get(name) is declaration:  # imported by another module
                continue
            if name in declarations:
                raise SettingsError(f"two sources are called {name}: in {places[name]} and in {place}")
            declarations[name], places[name] = declaration, place
    _check_dataset_names(declarations, places)
    mirrors = settings.publisher.mirrors if settings else {}
    batches = tuple(_adapt(batch, mirrors) for batch in declarations.values() if isinstance(batch, Batch))
    streams = tuple(stream for stream in declarations.values() if isinstance(stream, Stream))
    fed = _fed_datasets((*batches, *streams))
    transforms = [transform for transform in declarations.values() if isinstance(transform, Transform)]
    used = tuple(transform for transform in transforms if transform.input.name in fed)
    derivations = [derivation for derivation in declarations.values() if isinstance(derivation, Derivation)]
    known = {*fed, *_fed_datasets(used), *(dataset.name for dataset in SYSTEM_DATASETS)}
    feeds = {name: place for name, place in places.items() if isinstance(declarations[name], Batch | Stream)}
    readings = [reading for reading in declarations.values() if isinstance(reading, Reading)]
    read = tuple(reading for reading in readings if reading.dataset.computed_from in known)
    return Catalog(batches, streams, feeds, used, tuple(_list_fed(derivations, known)), read)


def list_source_files(state: Path) -> list[Path]:
    """The operator's files of sources, below the state folder."""
    folder = state / "sources"
    return sorted(path.resolve() for path in folder.rglob("*.py") if _is_source(path.relative_to(folder)))


def _is_source(path: Path) -> bool:
    return not any(part == CASES or part.startswith(("_", ".")) for part in path.parts)


def load_source(path: Path) -> Batch:
    """The one source in a file. SettingsError when there is none, or several."""
    if not path.is_file():
        raise SettingsError(f"there is no source file {path}")
    batches = [source for source in loader.load_sources(str(path)) if isinstance(source, Batch)]
    if len(batches) != 1:
        raise SettingsError(f"source file {path} must hold one Batch, not {len(batches)}")
    return batches[0]


def _list_fed(derivations: Sequence[Derivation], known: set[str]) -> list[Derivation]:
    """The derivations whose inputs are known, or are computed by one of them; each after those that it reads."""
    fed: list[Derivation] = []
    while ready := [
        derivation
        for derivation in derivations
        if derivation not in fed and all(source.name in known for source in derivation.inputs)
    ]:
        fed += ready
        known = known | _fed_datasets(ready).keys()
    return fed


def _fed_datasets(sources: Iterable[Declaration]) -> dict[str, Dataset]:
    return {dataset.name: dataset for source in sources for dataset in _datasets_of(source)}


def _datasets_of(declaration: Declaration) -> tuple[Dataset, ...]:
    """The datasets that it feeds; of a stream its frames too."""
    frames = (frames_of(declaration),) if isinstance(declaration, Stream) else ()
    return (*declaration.datasets, *frames)


def _list_modules(packages: Sequence[ModuleType]) -> list[str]:
    return [
        module.name
        for package in packages
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if not module.ispkg
    ]


def _check_dataset_names(declarations: Mapping[str, Declaration], places: Mapping[str, str]) -> None:
    """SettingsError for two different datasets of one name, and for a name that is reserved."""
    known: dict[str, tuple[Dataset, str]] = {
        dataset.name: (dataset, "spotlightd itself") for dataset in SYSTEM_DATASETS
    }
    for name, declaration in declarations.items():
        for dataset in _datasets_of(declaration):
            other, place = known.setdefault(dataset.name, (dataset, places[name]))
            if other != dataset:
                raise SettingsError(
                    f"two different datasets are called {dataset.name}: in {place} and in {places[name]}"
                )
    for name, (_, place) in known.items():
        stem, _, suffix = name.rpartition("_")
        if name.startswith((REBUILD_PREFIX, DRILL_PREFIX)) or (suffix in VIEW_SUFFIXES and stem in known):
            raise SettingsError(f"no dataset may be called {name}, in {place}: such names are reserved")


def _adapt(batch: Batch, mirrors: Mapping[str, str]) -> Batch:
    """The source as it is collected here: a mirror may have a part of the publisher's documents only."""
    return (
        replace(batch, least_links=1) if urlsplit(batch.home).hostname in {host.lower() for host in mirrors} else batch
    )
