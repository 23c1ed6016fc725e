"""Bounds for a config: it may come from a file that anybody wrote.

What does not fit a file's weights is found by comparing shapes. These bounds are for what shows in
no shape: it could take hours to build, or gigabytes when it is used.
"""

from collections.abc import Mapping
from typing import Any

from derefl.errors import ConfigError


def check_numbers(config: Any, limits: Mapping[str, tuple[int, int]]) -> None:
    """Check fields that are whole numbers or tuples of them.

    Args:
        config: a dataclass.
        limits: field to its least and greatest value.

    Raises:
        ConfigError: a field is something else, or outside.
    """
    for name, (least, greatest) in limits.items():
        value = getattr(config, name)
        for number in value if isinstance(value, tuple) else (value,):
            if type(number) is not int or not least <= number <= greatest:
                raise ConfigError(
                    f"got {name}={repr(value)[:60]}, expected whole numbers from {least} to "
                    f"{greatest}"
                )


def check_backbone(name: Any) -> None:
    """Raise ConfigError unless timm has such a model itself.

    ``timm.create_model`` also takes names that make it ask the network or read another folder.
    """
    import timm

    if not isinstance(name, str) or ":" in name or not timm.is_model(name):
        raise ConfigError(
            f"got backbone={repr(name)[:60]}, expected a name that timm.list_models() gives"
        )
