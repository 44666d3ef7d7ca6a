"""What the settings say about streams, before anything is opened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from spotlightd.errors import SettingsError
from spotlightd.runtime.streams import chosen, feeds_of
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
    told = settings(tmp_path, {"finnhub": "a-key-for-one-connection", "constructed": "a-key-for-one-connection"})
    with pytest.raises(SettingsError, match=r"streams finnhub and constructed have the same key") as refused:
        feeds_of(chosen([finnhub, CONSTRUCTED], told), told)
    assert "a-key-for-one-connection" not in str(refused.value)


def test_each_stream_has_its_own_key_and_symbols(tmp_path: Path) -> None:
    told = settings(tmp_path, {"finnhub": "a-key-for-one-connection", "constructed": "another-key-for-another"})
    feeds = feeds_of(chosen([finnhub, CONSTRUCTED], told), told)
    assert {name: (one.symbols, one.key) for name, one in feeds.items()} == {
        "finnhub": (("AAPL",), "a-key-for-one-connection"),
        "constructed": (("TSLA",), "another-key-for-another"),
    }


def test_streams_without_a_key_share_nothing() -> None:
    told = Settings(
        streams=StreamsSettings(
            symbols={"finnhub": ["AAPL"], "constructed": ["TSLA"]},
            addresses={"finnhub": "ws://127.0.0.1:9/", "constructed": "ws://127.0.0.1:9/"},
        )
    )
    assert set(feeds_of(chosen([finnhub, CONSTRUCTED], told), told)) == {"finnhub", "constructed"}


def test_how_long_the_bus_keeps_is_a_setting(tmp_path: Path) -> None:
    told = settings(tmp_path, {"finnhub": "a-key-for-one-connection", "constructed": "another-key-for-another"})
    told = replace(told, streams=replace(told.streams, retention_hours={"finnhub": 24}))
    kept = {one.name: one.topic.retention_hours for one in chosen([finnhub, CONSTRUCTED], told)}
    assert kept == {"finnhub": 24, "constructed": CONSTRUCTED.retention_hours}
    nothing = replace(told, streams=replace(told.streams, retention_hours={"finnhub": 0}))
    with pytest.raises(SettingsError, match="must be at least 1"):
        chosen([finnhub, CONSTRUCTED], nothing)
