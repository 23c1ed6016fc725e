"""Limits for a config, because a config may come from an untrusted file.

The comparison of shapes finds most invalid values. These limits are for values that no shape
depends on: a bad value could need hours to build a model, or gigabytes to use the model.
"""

from collections.abc import Mapping
from typing import Any

from derefl.errors import ConfigError


def check_numbers(config: Any, limits: Mapping[str, tuple[float, int]]) -> None:
    """Check fields that are numbers, or tuples of numbers with the default's length.

    Args:
        config: a dataclass.
        limits: field name to least and greatest value. If the least value is an integer, only
            integers are allowed.

    Raises:
        ConfigError: a field has another type or length, or is out of range.
    """
    for name, (least, greatest) in limits.items():
        value, default = getattr(config, name), getattr(type(config), name)
        several = isinstance(default, tuple)
        numbers = value if several and isinstance(value, tuple) else (value,)
        allowed, kind = ({int}, "whole number") if type(least) is int else ({int, float}, "number")
        if len(numbers) != (len(default) if several else 1) or any(
            type(number) not in allowed or not least <= number <= greatest for number in numbers
        ):
            count = f"{len(default)} {kind}s" if several else f"a {kind}"
            raise ConfigError(
                f"got {name}={repr(value)[:60]}, expected {count} from {least} to {greatest}, for "
                f"example {default}"
            )


NORMALISATION: dict[str, tuple[float, int]] = {"mean": (0.0, 1), "std": (0.01, 1)}
"""Limits of the mean and the standard deviation of a backbone's input."""


def check_backbone(name: Any, family: str = "") -> None:
    """Raise ConfigError if timm has no such model.

    ``timm.create_model`` also accepts names that start a download or read a local folder.

    Args:
        name: name of a backbone.
        family: the timm module that must define the backbone; any module if empty.
    """
    import timm

    known = isinstance(name, str) and ":" not in name and timm.is_model(name)
    if not known or (family and not timm.models.is_model_in_modules(name, [family])):
        listed = f"module={family!r}" if family else ""
        raise ConfigError(
            f"got backbone={repr(name)[:60]}, expected a name that timm.list_models({listed}) gives"
        )
