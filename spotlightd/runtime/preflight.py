"""What `check` and `run` both refuse before anything is opened: the same code, so that they reach the same verdict."""

from __future__ import annotations

from spotlightd.engine.lock import require_own_folder
from spotlightd.errors import SettingsError
from spotlightd.runtime.access import read_secret
from spotlightd.runtime.catalog import load_catalog
from spotlightd.runtime.streams import make_feeds, read_bus_password, select_streams
from spotlightd.server import connections
from spotlightd.settings.settings import Settings

HIGHEST_PORT = 65_535
MOST_THREADS = 1_024
MOST_SLOTS = 1_000


def check_settings(settings: Settings) -> None:
    """SettingsError for a stream or source that does not exist, a secret that cannot be read, an open address.

    A refused start takes milliseconds, and touches no file.
    """
    require_own_folder(settings.state_dir)
    _check_numbers(settings)
    catalog = load_catalog(settings)
    make_feeds(select_streams(catalog.streams, settings), settings)
    read_bus_password(settings)
    read_web_token(settings)
    read_metrics_token(settings)


def read_web_token(settings: Settings) -> str:
    """The token of the explorer's readers; empty when only this machine or a proxy can reach it."""
    web = settings.web
    if not (web.token_file or web.behind_proxy or is_loopback(web.host)):
        raise SettingsError(
            f"setting web.host: {web.host!r} can be reached from other machines, and the explorer has no accounts: listen on"
            " 127.0.0.1, or set web.token_file, or set web.behind_proxy = true if a proxy with a login stands in front of it"
        )
    return read_secret(web.token_file, "web.token_file") if web.token_file else ""


def read_metrics_token(settings: Settings) -> str:
    """The token of those who read the metrics; empty when only this machine can."""
    metrics = settings.metrics
    if metrics.port and not (metrics.token_file or is_loopback(metrics.host)):
        raise SettingsError(
            f"setting metrics.host: {metrics.host!r} can be reached from other machines, and the metrics have no accounts:"
            " listen on 127.0.0.1, or set metrics.token_file"
        )
    return read_secret(metrics.token_file, "metrics.token_file") if metrics.token_file else ""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens there. A name other than `localhost` may be any address."""
    return host == "localhost" or connections.is_loopback(host.strip("[]"))


def _check_numbers(settings: Settings) -> None:
    """SettingsError for a number with which a part could not work, or the machine would be filled with threads."""
    web, metrics, engine = settings.web, settings.metrics, settings.engine
    limits = (
        ("web.port", web.port, 0, HIGHEST_PORT), ("metrics.port", metrics.port, 0, HIGHEST_PORT),
        ("engine.threads", engine.threads, 0, MOST_THREADS), ("engine.readers", engine.readers, 1, MOST_SLOTS),
        ("engine.writers", engine.writers, 1, MOST_SLOTS), ("engine.download_slots", engine.download_slots, 1, MOST_SLOTS),
    )  # fmt: skip
    for name, value, lowest, highest in limits:
        if not lowest <= value <= highest:
            bound = f"at most {highest}" if value > highest else f"at least {lowest}"
            raise SettingsError(f"setting {name} must be {bound}, not {value}")
