"""Reading the settings file: an unknown key is an error that names the nearest known one, a wrong value says what is right."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypeVar

from spotlightd.errors import SettingsError
from spotlightd.settings.settings import Settings

T = TypeVar("T")


def load(path: Path | None) -> Settings:
    """Settings from a TOML file; all defaults when `path` is None. SettingsError names the key and the remedy."""
    if path is None:
        return Settings()
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"settings file {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise SettingsError(f"settings file {path} cannot be read: {problem}") from None
    except tomllib.TOMLDecodeError as problem:
        raise SettingsError(f"settings file {path} is not TOML: {problem}") from None
    return read(Settings, raw, where="")


def read(kind: type[T], raw: Mapping[str, Any], where: str) -> T:
    """A settings value of that class from a TOML table. SettingsError for an unknown key or a value of a wrong type."""
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    for key in raw:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0.0)
            raise SettingsError(f"unknown setting {where}{key!s}: did you mean {where}{near[0]}?")
    values = {key: _value(hints[key], raw[key], f"{where}{key}") for key in raw}
    return kind(**values)


def _value(hint: Any, raw: Any, where: str) -> Any:  # noqa: PLR0911  (one return for each kind of setting)
    if dataclasses.is_dataclass(hint):
        if not isinstance(raw, dict):
            raise SettingsError(f"setting {where} is a section: write [{where}]")
        return read(typing.cast("type[Any]", hint), raw, where=f"{where}.")
    origin = typing.get_origin(hint)
    if origin is Literal:
        return _one_of(typing.get_args(hint), raw, where)
    if origin is types.UnionType:
        return _value(next(a for a in typing.get_args(hint) if a is not types.NoneType), raw, where)
    plain = origin or hint
    if plain is Path and isinstance(raw, str):
        return Path(raw).expanduser()
    if plain is float and type(raw) is int:
        return float(raw)
    if type(raw) is not plain or (plain in (int, float) and raw < 0):
        which = "must not be negative:" if type(raw) is plain else f"must be {_spoken(plain)}, not"
        raise SettingsError(f"setting {where} {which} {raw!r}")
    if plain in (list, dict):
        return _several(typing.get_args(hint)[-1], raw, where)
    return raw


def _several(inner: Any, raw: Any, where: str) -> Any:
    if isinstance(raw, dict):
        return {key: _value(inner, one, f"{where}.{key}") for key, one in raw.items()}
    if not all(type(one) is inner for one in raw):
        raise SettingsError(f"setting {where} must hold {_spoken(inner)} only, not {raw!r}")
    return raw


def _one_of(choices: tuple[Any, ...], raw: Any, where: str) -> Any:
    if raw not in choices:
        raise SettingsError(f"setting {where} must be one of {', '.join(map(str, choices))}, not {raw!r}")
    return raw


def _spoken(kind: type) -> str:
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", date: "a date like 2021-03-01",
             list: "a list", dict: "a table", Path: "a path"}  # fmt: skip
    return words.get(kind, kind.__name__)
