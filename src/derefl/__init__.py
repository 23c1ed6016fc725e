"""Remove reflections from photos taken through glass: ``load_derefl().dereflect(photo)``."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from derefl.errors import DereflError

if TYPE_CHECKING:
    from derefl.reflection.pipeline import load_derefl
    from derefl.zoo import list_models

__all__ = ["DereflError", "__version__", "list_models", "load_derefl"]

__version__ = version("derefl")

_HOMES = {"list_models": "derefl.zoo", "load_derefl": "derefl.reflection.pipeline"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: torch and timm take seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module 'derefl' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
