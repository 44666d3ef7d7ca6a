"""Code that authors of sources wrote: how it is found, and how its mistakes are told.

A place is the name of a module (`spotlightd.sources.sec_ftd`) or the path of a file (`/srv/sources/mine.py`). The
daemon and the parser's child each load it for themselves, so a source is told between them by its place and name.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType

from spotlightd.errors import SettingsError, SpotlightError
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream


@dataclass(frozen=True, slots=True)
class Blame:
    """Whatever an author's code raises but our own errors and a lack of memory becomes `error`, with type and place."""

    error: Callable[[str], SpotlightError]

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, problem: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(problem, Exception) and not isinstance(problem, SpotlightError | MemoryError):
            raise self.error(f"{type(problem).__name__}: {problem} ({_place(trace)})") from problem


def _place(trace: TracebackType | None) -> str:
    """The deepest line of the author's own file, which is the first on the way that is not ours or Python's."""
    ours = Path(__file__).parent
    found = (frame for frame in traceback.extract_tb(trace) if not frame.filename.startswith("<"))
    frames = [frame for frame in found if Path(frame.filename).parent != ours]
    theirs = [frame for frame in frames if frame.filename == frames[0].filename]
    return (
        f"{Path(theirs[-1].filename).name} line {theirs[-1].lineno} in {theirs[-1].name}"
        if theirs
        else "no place known"
    )


def sources(place: str) -> tuple[Batch | Stream, ...]:
    """The sources, batches and streams, that stand in a module or file, found by their type. SettingsError if it cannot be loaded."""
    with Blame(lambda said: SettingsError(f"source file {place} cannot be loaded: {said}")):
        module = _file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    return tuple(value for value in vars(module).values() if isinstance(value, Batch | Stream))


def _file(path: Path) -> ModuleType:
    name = f"spotlightd_source_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SettingsError(f"source file {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look a class's module up there
    spec.loader.exec_module(module)
    return module
