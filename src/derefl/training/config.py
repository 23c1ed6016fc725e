"""Nested dataclasses from TOML, with every mistake named."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

from derefl.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Config = TypeVar("Config")


def read_config(cls: type[Config], path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """A config from a TOML file, with single settings put over it.

    Args:
        cls: dataclass whose fields may be dataclasses themselves, one TOML table each.
        path: the file; None for the defaults.
        overrides: like ``run.steps=100``, the value in TOML's notation.

    Raises:
        ConfigError: no such file, not TOML, a setting that does not exist or has the wrong type.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot read the config {path}: {error.strerror}") from error
        except ValueError as error:
            raise ConfigError(f"{path} is not TOML: {error}") from error
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise ConfigError(f"got {override!r}, expected KEY=VALUE like run.steps=100")
        put(values, key.strip().split("."), parse(value.strip()))
    return build(cls, values, "")


def parse(value: str) -> Any:
    """A TOML value; what is none is taken as a string, so that paths need no quotes."""
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value


def put(values: dict[str, Any], keys: list[str], value: Any) -> None:
    """Set ``values[k0][k1]… = value``."""
    *parents, last = keys
    for key in parents:
        values = values.setdefault(key, {})
    values[last] = value


def build(cls: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """An instance of the dataclass ``cls`` from plain values; ``where`` names it in errors."""
    hints = get_type_hints(cls)
    fields = {f.name for f in dataclasses.fields(cast(Any, cls))}
    if unknown := sorted(values.keys() - fields):
        raise ConfigError(
            f"no setting {where + unknown[0]!r}; there are: {', '.join(sorted(fields))}"
        )
    arguments = {}
    for name, value in values.items():
        hint = hints[name]
        if dataclasses.is_dataclass(hint):
            arguments[name] = build(cast(type[Any], hint), value, f"{where}{name}.")
        else:
            arguments[name] = checked(value, hint, where + name)
    return cls(**arguments)


def checked(value: Any, hint: Any, name: str) -> Any:
    """``value`` as the field wants it: lists become tuples, whole numbers floats where asked."""
    expected = getattr(hint, "__origin__", hint)
    if expected is tuple and isinstance(value, list):
        return tuple(value)
    if expected is float and type(value) is int:
        return float(value)
    if type(value) is not expected:
        raise ConfigError(f"{name} is {value!r}, expected {expected.__name__}")
    return value
