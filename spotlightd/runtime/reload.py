"""What SIGHUP does: the settings file and the operator's sources are read again, and the level of the log is taken over.

Everything else is built at the start: which settings wait for a restart is logged. Nothing changes when the file or a source
is wrong; then the daemon works on with what it has, and the log names the mistake.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from spotlightd.errors import SettingsError
from spotlightd.log import logger, set_level
from spotlightd.runtime.preflight import check_settings
from spotlightd.settings.settings import Settings

ReadSettings = Callable[[], Settings]
LEVEL = "log.level"


@contextmanager
def reload_signal(settings: Settings, read_settings: ReadSettings | None = None) -> Iterator[None]:
    """While the block runs, SIGHUP reloads; without `read_settings` it only says that it cannot. Afterwards it is ignored."""
    loop, before = asyncio.get_running_loop(), _flatten(settings)

    def reload() -> None:
        if read_settings is None:
            logger().warning("reload refused", error="nothing can be reloaded here: stop it and start it again")
        else:
            _reload(before, read_settings)

    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _reload(before: Mapping[str, Any], read_settings: ReadSettings) -> None:
    try:
        settings = read_settings()
        check_settings(settings)
    except SettingsError as error:
        logger().error("reload refused", error=str(error))
        return
    after = _flatten(settings)
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
    return values | {str(path): _digest(path) for path in (settings.state_dir / "sources").glob("*.py")}


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
