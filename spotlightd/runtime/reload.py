"""What SIGHUP does: the settings file and the operator's sources are read again, and the level of the log is taken over.

Everything else is built at the start: which settings wait for a restart is logged. Nothing changes when the file or a source
is wrong; then the daemon works on with what it has, and the log names the mistake.

Files are read in a thread that nobody waits for: an operator's source may take long to load, and a settings file may be a
pipe. Read in the event loop, a source that slept for 40 s kept pages and SIGTERM waiting as long.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Any

from spotlightd.errors import SettingsError
from spotlightd.log import logger, set_level
from spotlightd.runtime.catalog import list_source_files
from spotlightd.runtime.preflight import check_settings
from spotlightd.settings.settings import Settings

ReadSettings = Callable[[], Settings]
LEVEL = "log.level"


@contextmanager
def reload_signal(settings: Settings, read_settings: ReadSettings | None = None) -> Iterator[None]:
    """While the block runs, SIGHUP reloads; without `read_settings` it only says that it cannot. Afterwards it is ignored."""
    loop = asyncio.get_running_loop()
    reload = _Reload(loop, _flatten(settings), read_settings)
    loop.add_signal_handler(signal.SIGHUP, reload.begin)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


class _Reload:
    """Reads the settings once for each signal, one at a time."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, before: Mapping[str, Any], read_settings: ReadSettings | None
    ) -> None:
        self._loop, self._before, self._read_settings = loop, before, read_settings
        self._thread: Thread | None = None

    def begin(self) -> None:
        if self._read_settings is None:
            _refuse("nothing can be reloaded here: stop it and start it again")
        elif self._thread and self._thread.is_alive():
            _refuse("the settings file or a source is still being read since the last signal")
        else:
            self._thread = Thread(target=self._read, args=(self._read_settings,), name="reload", daemon=True)
            self._thread.start()

    def _read(self, read_settings: ReadSettings) -> None:
        """In the thread. After the daemon's end nobody asks for the result."""
        with suppress(RuntimeError):
            try:
                settings = read_settings()
                check_settings(settings)
                after = _flatten(settings)
            except (SettingsError, OSError) as error:
                self._loop.call_soon_threadsafe(_refuse, str(error))
            else:
                self._loop.call_soon_threadsafe(_apply, settings, self._before, after)


def _refuse(reason: str) -> None:
    logger().error("reload refused", error=reason)


def _apply(settings: Settings, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    waiting = [name for name in changed if name != LEVEL]
    logger().warning("settings reloaded", log_level=settings.log.level, need_restart=waiting)
    set_level(settings.log.level)


def _flatten(settings: Settings) -> dict[str, Any]:
    """Every setting by its name, and every file of the operator's sources by its path, with a digest of its content."""
    values: dict[str, Any] = {}
    for section, content in asdict(settings).items():
        if isinstance(content, dict):
            values |= {f"{section}.{name}": value for name, value in content.items()}
        else:
            values[section] = content
    return values | {str(path): _digest(path) for path in list_source_files(settings.state_dir)}


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
