"""Nested config dataclasses from TOML, with clear errors."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from derefl.errors import ConfigError

Config = TypeVar("Config")

Whole = Annotated[int, Meta(ge=0, le=2**32 - 1)]
"""An integer ≥ 0."""

Count = Annotated[int, Meta(ge=1, le=2**32 - 1)]
"""An integer ≥ 1."""

Share = Annotated[float, Meta(ge=0, le=1)]
"""A probability or a share, from 0 to 1."""

Weight = Annotated[float, Meta(ge=0, le=1e9)]
"""A finite number ≥ 0."""

Rate = Annotated[float, Meta(gt=0, le=1e9)]
"""A finite number > 0."""

WORDS = {
    "`object`": "a table",
    "`array`": "a list",
    "`int`": "a whole number",
    "`float`": "a number",
    "`str`": "a text",
    "`bool`": "true or false",
}


def read_config(
    cls: type[Config],
    path: Path | None,
    overrides: Sequence[str] = (),
    given: Mapping[str, Any] | None = None,
) -> Config:
    """Read a config from a TOML file and apply overrides.

    Args:
        cls: dataclass; its fields may be dataclasses, one TOML table each. The field types define
            the allowed values, for example :data:`Count`.
        path: the file; None for the defaults.
        overrides: settings like ``run.steps=100``, with a TOML value or plain text. They override
            ``path`` and ``given``.
        given: settings by name, like ``run.steps``. They override ``path``.

    Raises:
        ConfigError: the file is missing or not TOML, a setting is unknown, or a value is not
            allowed.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = msgspec.toml.decode(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot read the config {path}: {error.strerror}") from error
        except ValueError as error:
            raise ConfigError(f"{path} is not TOML: {error}") from error
    for key, value in (given or {}).items():
        put(values, key, value)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"got {override!r}, expected KEY=VALUE like run.steps=100")
        put(values, key.strip(), parse(text.strip()))
    refuse_unknown(cls, values)
    return convert(cls, values)


def check(config: Any) -> None:
    """Raise ConfigError if a field of a dataclass has a value that is not allowed."""
    convert(type(config), dataclasses.asdict(config))


def convert(cls: type[Config], values: Mapping[str, Any]) -> Config:
    """An instance of ``cls``.

    Raises:
        ConfigError: a value is not allowed.
    """
    try:
        return msgspec.convert(values, cls)
    except msgspec.ValidationError as error:
        # "Expected `int` >= 1 - at `$.run.steps`"
        what, _, where = str(error).partition(" - at `$.")
        key = where.partition("[")[0].rstrip("`")
        got = reduce(lambda table, name: table[name], key.split("."), values)
        expected = what.partition(", got")[0]
        for word, plain in WORDS.items():
            expected = expected.replace(word, plain)
        raise ConfigError(
            f"got {key}={repr(got)[:60]}, {expected[:1].lower()}{expected[1:]}"
        ) from error


def parse(text: str) -> Any:
    """A TOML value; other text becomes a string, so paths need no quotes."""
    try:
        return msgspec.toml.decode(f"value = {text}")["value"]
    except msgspec.DecodeError:
        return text


def put(values: dict[str, Any], key: str, value: Any) -> None:
    """Set ``values[k0][k1]… = value`` for the key ``k0.k1…``.

    Raises:
        ConfigError: a key before the last is a value, not a table.
    """
    *parents, last = key.split(".")
    for name in parents:
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise ConfigError(f"got {name}={values!r} and {key}, expected {name} to be a table")
    values[last] = value


def refuse_unknown(cls: type[Any], values: Mapping[str, Any], where: str = "") -> None:
    """Raise ConfigError for an unknown setting; ``where`` is the name of its table."""
    fields = {field.name: field.type for field in dataclasses.fields(cls)}
    for name, value in values.items():
        if name not in fields:
            raise ConfigError(
                f"no setting {where + name!r}; there are: {', '.join(sorted(fields))}"
            )
        kind = fields[name]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
            refuse_unknown(kind, value, f"{where}{name}.")
