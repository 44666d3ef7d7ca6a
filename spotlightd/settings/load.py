"""Reads the settings file. An unknown key is an error that names the nearest known one; a wrong value names the right type."""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypeVar

from spotlightd.errors import SettingsError
from spotlightd.settings.describe import describe_text, describe_value, is_near
from spotlightd.settings.settings import Settings

T = TypeVar("T")


def load_settings(path: Path | None) -> Settings:
    """The settings of a TOML file; all defaults when `path` is None. SettingsError names the key and the remedy."""
    if path is None:
        return Settings()
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"settings file {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"settings file {path} is not TOML: {error}") from None
    except RecursionError:
        raise SettingsError(f"settings file {path} is not for us: its lists are nested too deep") from None
    return read_section(Settings, raw, prefix="")


def read_section(kind: type[T], raw: Mapping[str, Any], prefix: str) -> T:
    """A section of that class from a TOML table. SettingsError for an unknown key or a value of a wrong type."""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    for key in raw:
        if key not in fields:
            nearest = difflib.get_close_matches(key, fields, n=1, cutoff=0.0)
            name = key if is_near(key, fields) else describe_text(key)
            raise SettingsError(f"unknown setting {prefix}{name}: did you mean {prefix}{nearest[0]}?")
    values = {key: _read_value(hints[key], raw[key], f"{prefix}{key}") for key in raw}
    return kind(**values)


def _read_value(hint: Any, raw: Any, name: str) -> Any:  # noqa: PLR0911  (one return for each kind of setting)
    if dataclasses.is_dataclass(hint):
        if not isinstance(raw, dict):
            raise SettingsError(f"setting {name} is a section: write [{name}]")
        return read_section(typing.cast("type[Any]", hint), raw, prefix=f"{name}.")
    origin = typing.get_origin(hint)
    if origin is Literal:
        return _read_choice(typing.get_args(hint), raw, name)
    if origin is types.UnionType:
        return _read_value(next(kind for kind in typing.get_args(hint) if kind is not types.NoneType), raw, name)
    plain = origin or hint
    _check_value(raw, name)
    if plain is Path and isinstance(raw, str):
        return _expand(raw, name)
    if plain is float and type(raw) is int:
        return float(raw)
    if type(raw) is not plain or (plain in (int, float) and raw < 0):
        rule = "must not be negative:" if type(raw) is plain else f"must be {_describe_type(plain)}, not"
        raise SettingsError(f"setting {name} {rule} {describe_value(raw)}")
    if plain in (list, dict):
        return _read_items(typing.get_args(hint)[-1], raw, name)
    return raw


def _expand(text: str, name: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise SettingsError(f"setting {name}: there is no user whose folder it begins with") from None


def _check_value(raw: Any, name: str) -> None:
    """SettingsError for what TOML allows and no setting may be: a number without a size, a text that no path can hold."""
    if isinstance(raw, float) and not math.isfinite(raw):
        raise SettingsError(f"setting {name} must be a finite number, not {raw!r}")
    if isinstance(raw, str) and not raw.isprintable():
        raise SettingsError(f"setting {name} must be one line without control characters")


def _read_items(inner: Any, raw: Any, name: str) -> Any:
    if isinstance(raw, dict):
        return {key: _read_value(inner, item, f"{name}.{key}") for key, item in raw.items()}
    for item in raw:
        _check_value(item, name)
    if not all(type(item) is inner for item in raw):
        wrong = next(item for item in raw if type(item) is not inner)
        raise SettingsError(f"setting {name} must hold {_describe_type(inner)} only, not {describe_value(wrong)}")
    return raw


def _read_choice(choices: tuple[Any, ...], raw: Any, name: str) -> Any:
    if raw not in choices:
        given = describe_text(raw, choices) if isinstance(raw, str) else describe_value(raw)
        raise SettingsError(f"setting {name} must be one of {', '.join(map(str, choices))}, not {given}")
    return raw


def _describe_type(kind: type) -> str:
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", date: "a date like 2021-03-01",
             list: "a list", dict: "a table", Path: "a path"}  # fmt: skip
    return names.get(kind, kind.__name__)
