"""Loads the code that authors of sources wrote, and reports its bugs.

A place is the name of a module (`spotlightd.sources.sec_ftd`) or the path of a file (`/srv/sources/mine.py`). The
daemon and the parser child each load the code themselves, so they identify a source by its place and name.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType

from spotlightd.errors import SettingsError, SpotlightError
from spotlightd.model.derivation import Derivation
from spotlightd.model.derived.transform import Reading, Transform
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream

DECLARATIONS = (Batch, Stream, Transform, Derivation, Reading)


@dataclass(frozen=True, slots=True)
class AuthorErrors:
    """Turns an exception of an author's code into `error`, with type and line. SpotlightError and MemoryError pass.

    `sys.exit()` is one too: a file that needs another package may end so, and must not end the daemon.
    """

    error: Callable[[str], SpotlightError]

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, problem: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(problem, Exception | SystemExit) and not isinstance(problem, SpotlightError | MemoryError):
            raise self.error(f"{type(problem).__name__}: {problem} ({_place(trace)})") from problem


def _place(trace: TracebackType | None) -> str:
    """The deepest traceback line in the author's file. That file is the first one outside this package's `workers`."""
    own_folder = Path(__file__).parent
    real_frames = (frame for frame in traceback.extract_tb(trace) if not frame.filename.startswith("<"))
    frames = [frame for frame in real_frames if Path(frame.filename).parent != own_folder]
    author_frames = [frame for frame in frames if frame.filename == frames[0].filename]
    return (
        f"{Path(author_frames[-1].filename).name} line {author_frames[-1].lineno} in {author_frames[-1].name}"
        if author_frames
        else "at an unknown line"
    )


def load_sources(place: str) -> tuple[Batch | Stream, ...]:
    """All Batch and Stream objects of a module or file. SettingsError if it cannot be loaded."""
    return tuple(value for value in load_declarations(place) if isinstance(value, Batch | Stream))


def find_source(sources: Iterable[Batch | Stream], place: str, name: str) -> Batch | Stream:
    """The source with that name. SettingsError when the place has it no longer."""
    for source in sources:
        if source.name == name:
            return source
    raise SettingsError(f"{place} has no source {name} any more")


def load_declarations(place: str) -> tuple[Batch | Stream | Transform | Derivation | Reading, ...]:
    """All sources, transforms, derivations and readings of a module or file. SettingsError if it cannot be loaded."""
    with AuthorErrors(lambda error: SettingsError(f"source file {place} cannot be loaded: {error}")):
        module = _load_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    return tuple(value for value in vars(module).values() if isinstance(value, DECLARATIONS))


def _load_file(path: Path) -> ModuleType:
    name = "spotlightd_source_" + re.sub(r"\W", "_", str(path))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SettingsError(f"source file {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look up a class's module there
    spec.loader.exec_module(module)
    return module
