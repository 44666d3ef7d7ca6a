"""What the settings say about streams, before anything is opened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from spotlightd.errors import SettingsError
from spotlightd.runtime.streams import make_feeds, select_streams
from spotlightd.settings.settings import Settings
from spotlightd.settings.sources import StreamsSettings
from spotlightd.sources.finnhub import finnhub

CONSTRUCTED = replace(finnhub, name="constructed")


def settings(folder: Path, keys: dict[str, str]) -> Settings:
    """Two streams with symbols, and a key file for each."""
    files = {}
    for name, key in keys.items():
        file = folder / name
        file.touch(mode=0o600)
        file.write_text(key, encoding="utf-8")
        files[name] = str(file)
    symbols = {"finnhub": ["AAPL"], "constructed": ["TSLA"]}
    return Settings(streams=StreamsSettings(symbols=symbols, key_files=files))


def test_two_streams_may_not_share_a_key(tmp_path: Path) -> None:
    configured = settings(tmp_path, {"finnhub": "a-key-for-one-connection", "constructed": "a-key-for-one-connection"})
    with pytest.raises(SettingsError, match=r"streams finnhub and constructed have the same key") as refused:
        make_feeds(select_streams([finnhub, CONSTRUCTED], configured), configured)
    assert "a-key-for-one-connection" not in str(refused.value)


def test_each_stream_has_its_own_key_and_symbols(tmp_path: Path) -> None:
    configured = settings(tmp_path, {"finnhub": "a-key-for-one-connection", "constructed": "another-key-for-another"})
    feeds = make_feeds(select_streams([finnhub, CONSTRUCTED], configured), configured)
    assert {name: (feed.symbols, feed.key) for name, feed in feeds.items()} == {
        "finnhub": (("AAPL",), "a-key-for-one-connection"),
        "constructed": (("TSLA",), "another-key-for-another"),
    }


def test_streams_without_a_key_share_nothing() -> None:
    configured = Settings(
        streams=StreamsSettings(
            symbols={"finnhub": ["AAPL"], "constructed": ["TSLA"]},
            addresses={"finnhub": "ws://127.0.0.1:9/", "constructed": "ws://127.0.0.1:9/"},
        )
    )
    assert set(make_feeds(select_streams([finnhub, CONSTRUCTED], configured), configured)) == {"finnhub", "constructed"}


def test_how_long_the_bus_keeps_is_a_setting(tmp_path: Path) -> None:
    configured = settings(tmp_path, {"finnhub": "a-key-for-one-connection", "constructed": "another-key-for-another"})
    configured = replace(configured, streams=replace(configured.streams, retention_hours={"finnhub": 24}))
    hours = {stream.name: stream.topic.retention_hours for stream in select_streams([finnhub, CONSTRUCTED], configured)}
    assert hours == {"finnhub": 24, "constructed": CONSTRUCTED.retention_hours}
    nothing = replace(configured, streams=replace(configured.streams, retention_hours={"finnhub": 0}))
    with pytest.raises(SettingsError, match="must be at least 1"):
        select_streams([finnhub, CONSTRUCTED], nothing)
