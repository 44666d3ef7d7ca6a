"""Settings: what is wrong is named with its remedy, and a secret in a wrong place is never shown."""

from __future__ import annotations

import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest

from spotlightd.errors import SettingsError
from spotlightd.runtime.access import read_bucket_access, read_known_secrets, read_secret, store_address
from spotlightd.runtime.streams import select_streams
from spotlightd.settings.describe import find_secrets, show_settings, show_text
from spotlightd.settings.load import load_settings, read_section
from spotlightd.settings.settings import Settings
from spotlightd.settings.stores import BucketSettings
from spotlightd.sources import finnhub

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfi17"
MISPLACED = (
    f'[bucket]\nkind = "{SECRET}"',
    f'[bucket]\nthreads = "{SECRET}"',
    f'[bus]\nservers = "{SECRET}"',
    f'[bus]\nservers = ["127.0.0.1:9092", 1, "{SECRET}"]',
    f'[bus]\npassword_file = ["{SECRET}"]',
    f'[streams]\nkey_files = "{SECRET}"',
    f'[streams.key_files]\nfinnhub = ["{SECRET}"]',
    f'[streams]\nsymbols = {{ finnhub = "{SECRET}" }}',
    f'[bucket]\n"{SECRET}" = 1',
    f'"{SECRET}" = "bucket"',
    f'[web]\nport = "{SECRET}"',
    f'[documents]\nhot_days = {{ x = "{SECRET}" }}',
    f'[log]\nlevel = "{SECRET}"',
    f'bucket = "{SECRET}"',
    f'[bucket\nsecret_key_file = "{SECRET}"',
)


@pytest.mark.parametrize("text", MISPLACED)
def test_a_secret_where_something_else_was_expected_is_not_in_the_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "spotlightd.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    assert SECRET not in str(caught.value)
    assert SECRET[:12] not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('[publisher]\nkontact = "x"', "unknown setting publisher.kontact: did you mean publisher.contact?"),
        ('[bucket]\nkind = "foldr"', "setting bucket.kind must be one of folder, s3, not 'foldr'"),
        ('[web]\nport = "80"', "setting web.port must be a whole number, not '80'"),
        ("[web]\nport = -1", "setting web.port must not be negative: -1"),
        ("[log]\ntable_seconds = inf", "setting log.table_seconds must be a finite number, not inf"),
        ("[disk]\nevery_seconds = nan", "setting disk.every_seconds must be a finite number, not nan"),
        ('state_dir = "a\\u0000b"', "setting state_dir must be one line without control characters"),
        ('state_dir = "~nobody-17/x"', "setting state_dir: there is no user whose folder it begins with"),
        ('[web]\nhosts = ["a\\nb"]', "setting web.hosts must be one line without control characters"),
        ('[bus]\nservers = ["a:1", 2]', "setting bus.servers must hold a text only, not 2"),
    ],
)
def test_a_typing_error_is_shown(text: str, error: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_section(Settings, tomllib.loads(text), prefix="")
    assert str(caught.value) == error


def test_a_secret_in_the_place_of_its_file_is_not_in_the_error(tmp_path: Path) -> None:
    for text in (SECRET, "c0ffeec0ffee17c0ffee", "/wJalrXUtnFEMI17K7MDENG", "~" + SECRET, SECRET * 20, str(tmp_path)):
        with pytest.raises(SettingsError) as caught:
            read_secret(text, "streams.key_files.finnhub")
        assert "streams.key_files.finnhub" in str(caught.value)
        assert (text in str(caught.value)) is (text == str(tmp_path))


def test_a_missing_file_in_a_folder_that_exists_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=rf"{tmp_path}/finhub\.key cannot be read: No such file"):
        read_secret(str(tmp_path / "finhub.key"), "streams.key_files.finnhub")


def test_a_secret_that_is_no_text_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"\xff\xfe" * 20)
    path.chmod(0o600)
    with pytest.raises(SettingsError, match="bytes that are no text"):
        read_secret(str(path), "bucket.secret_key_file")


def test_a_secret_in_the_place_of_a_name_or_an_address_is_not_in_the_error() -> None:
    for read in (
        lambda: select_streams([finnhub.finnhub], load_text(f'[streams]\nenabled = ["{SECRET}"]')),
        lambda: select_streams([finnhub.finnhub], load_text(f'[streams.key_files]\n"{SECRET}" = "finnhub"')),
        lambda: read_bucket_access(BucketSettings(name=SECRET)),
        lambda: read_bucket_access(BucketSettings(prefix=f"//{SECRET}?")),
        lambda: store_address(f"http://u:{SECRET}@127.0.0.1:9000", "bucket.url"),
        lambda: store_address(f"http://127.0.0.1:9000/?token={SECRET}", "warehouse.url"),
    ):
        with pytest.raises(SettingsError) as caught:
            read()
        assert SECRET not in str(caught.value)


def test_a_misspelt_stream_is_shown_with_those_that_exist() -> None:
    with pytest.raises(SettingsError) as caught:
        select_streams([finnhub.finnhub], load_text('[streams]\nenabled = ["finhub_io"]'))
    assert str(caught.value) == "section [streams] names no stream: 'finhub_io'; there are: finnhub"


def test_check_shows_files_that_exist_and_no_secret(tmp_path: Path) -> None:
    key = tmp_path / "finnhub.key"
    key.write_text("x")
    settings = load_text(f"""
        state_dir = "/var/lib/spotlightd2"
        [bucket]
        access_key_file = "{SECRET}"
        secret_key_file = "c0ffeec0ffee17c0ffee"
        [streams]
        key_files = {{ finnhub = "{key}", other = "c0ffeec0ffee18c0ffee" }}
        addresses = {{ finnhub = "wss://u:pass-17-word@ws.example/?token=tok-17-tok&x=1" }}
        [bus]
        servers = ["c0ffeec0ffee19c0ffee"]
        [web]
        hosts = ["explorer.example"]
    """)
    shown = show_settings(asdict(settings))
    assert str(shown["state_dir"]) == "/var/lib/spotlightd2"
    assert shown["streams"]["key_files"] == {"finnhub": str(key), "other": "(hidden)"}
    assert shown["streams"]["addresses"] == {"finnhub": "wss://(hidden)@ws.example/?token=(hidden)&x=(hidden)"}
    assert shown["web"]["hosts"] == ["explorer.example"]
    for secret in (SECRET, "c0ffee", "pass-17", "tok-17"):
        assert secret not in repr(shown)
    assert find_secrets(settings) == ["pass-17-word", "tok-17-tok"]


@pytest.mark.parametrize("typed", ["Tr0ub4dor&3-horse!", "Xk9vQ2mZr7Lp4TbW", "c0ffeec0ffee19c0ffee"])
def test_check_shows_no_secret_that_was_typed_into_a_list_or_an_address(typed: str) -> None:
    settings = load_text(f"""
        [web]
        host = "{typed}"
        hosts = ["{typed}"]
        [streams]
        symbols = {{ finnhub = ["{typed}"] }}
        [bus]
        servers = ["{typed}"]
        [documents]
        lost = ["{typed}"]
        [publisher]
        mirrors = {{ "www.sec.gov" = "{typed}" }}
    """)
    shown = show_settings(asdict(settings))
    assert typed not in repr(shown)
    assert shown["web"]["hosts"] == ["(hidden)"]


@pytest.mark.parametrize(
    "text", ["BINANCE:BTCUSDT", "OANDA:EUR_USD", "BRK.B", "explorer.example.org", "0 6 * * *", "10.0.0.7:9092"]
)
def test_check_shows_names_symbols_and_schedules(text: str) -> None:
    assert show_text(text) == text


def test_a_command_knows_the_secrets_in_the_files_of_its_settings(tmp_path: Path) -> None:
    key, password = tmp_path / "key", tmp_path / "password"
    key.write_text("key-17-of-finnhub\n")
    password.write_text("password-17-of-the-server")
    settings = load_text(f"""
        [streams]
        key_files = {{ finnhub = "{key}", other = "{tmp_path}/absent" }}
        [bus]
        password_file = "{password}"
        ca_file = "{key}"
    """)
    assert list(read_known_secrets(settings)) == ["key-17-of-finnhub", "password-17-of-the-server"]


def load_text(text: str) -> Settings:
    return read_section(Settings, tomllib.loads(text), prefix="")
