"""Bounds for a config: it may come from a file that anybody wrote.

What does not fit a file's weights is found by comparing shapes. These bounds are for what shows in
no shape: it could take hours to build, or gigabytes when it is used.
"""

from collections.abc import Mapping
from typing import Any

from derefl.errors import ConfigError


def check_numbers(config: Any, limits: Mapping[str, tuple[int, int]]) -> None:
    """Check fields that are whole numbers, or tuples with as many of them as the default has.

    Args:
        config: a dataclass.
        limits: field to its least and greatest value.

    Raises:
        ConfigError: a field is something else, of another length, or outside.
    """
    for name, (least, greatest) in limits.items():
        value, default = getattr(config, name), getattr(type(config), name)
        several = isinstance(default, tuple)
        numbers = value if several and isinstance(value, tuple) else (value,)
        if len(numbers) != (len(default) if several else 1) or any(
            type(number) is not int or not least <= number <= greatest for number in numbers
        ):
            count = f"{len(default)} whole numbers" if several else "a whole number"
            raise ConfigError(
                f"got {name}={repr(value)[:60]}, expected {count} from {least} to {greatest}, for "
                f"example {default}"
            )


def check_backbone(name: Any, family: str = "") -> None:
    """Raise ConfigError unless timm has such a model itself.

    ``timm.create_model`` also takes names that make it ask the network or read another folder.

    Args:
        name: of a backbone.
        family: the timm module that the backbone has to be from; any if empty.
    """
    import timm

    known = isinstance(name, str) and ":" not in name and timm.is_model(name)
    if not known or (family and not timm.models.is_model_in_modules(name, [family])):
        listed = f"module={family!r}" if family else ""
        raise ConfigError(
            f"got backbone={repr(name)[:60]}, expected a name that timm.list_models({listed}) gives"
        )
