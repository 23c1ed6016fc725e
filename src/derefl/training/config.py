"""Nested dataclasses from TOML, with every mistake named."""

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
"""A whole number from 0."""

Count = Annotated[int, Meta(ge=1, le=2**32 - 1)]
"""A whole number from 1."""

Share = Annotated[float, Meta(ge=0, le=1)]
"""A probability or a part of a whole."""

Weight = Annotated[float, Meta(ge=0, le=1e9)]
"""A finite number from 0."""

Rate = Annotated[float, Meta(gt=0, le=1e9)]
"""A finite number above 0."""

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
    """A config from a TOML file, with single settings put over it.

    Args:
        cls: dataclass; its fields may be dataclasses, one TOML table each. The types of the fields
            say what is allowed, see :data:`Count` and its like.
        path: the file; None for the defaults.
        overrides: settings over all others, like ``run.steps=100``, with a TOML value or a text.
        given: settings over those of the file, by name like ``run.steps``.

    Raises:
        ConfigError: no such file, not TOML, a setting that does not exist, or a value that is not
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
    """Raise ConfigError unless every field of a dataclass has an allowed value."""
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
    """A TOML value; other text is taken as a string, so that paths need no quotes."""
    try:
        return msgspec.toml.decode(f"value = {text}")["value"]
    except msgspec.DecodeError:
        return text


def put(values: dict[str, Any], key: str, value: Any) -> None:
    """Set ``values[k0][k1]… = value`` for the key ``k0.k1…``.

    Raises:
        ConfigError: a table on the way is a value.
    """
    *parents, last = key.split(".")
    for name in parents:
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise ConfigError(f"got {name}={values!r} and {key}, expected {name} to be a table")
    values[last] = value


def refuse_unknown(cls: type[Any], values: Mapping[str, Any], where: str = "") -> None:
    """Raise ConfigError for a setting that does not exist; ``where`` names its table."""
    fields = {field.name: field.type for field in dataclasses.fields(cls)}
    for name, value in values.items():
        if name not in fields:
            raise ConfigError(
                f"no setting {where + name!r}; there are: {', '.join(sorted(fields))}"
            )
        kind = fields[name]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
            refuse_unknown(kind, value, f"{where}{name}.")
