"""Remove reflections from photos, and search photos and text with small binary codes.

``load_derefl().dereflect(photo)`` and ``load_lcdh_student(bits=64).encode_image([photo])``.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from derefl.errors import DereflError

if TYPE_CHECKING:
    from derefl.hashing.hasher import load_lcdh_student
    from derefl.hashing.index.hash_index import HashIndex
    from derefl.hashing.teacher_pipeline import load_lcdh_teacher
    from derefl.imaging.files import open_picture, save_picture
    from derefl.reflection.folder import dereflect_folder
    from derefl.reflection.remover import load_derefl
    from derefl.zoo import list_models

__all__ = [
    "DereflError",
    "HashIndex",
    "__version__",
    "dereflect_folder",
    "list_models",
    "load_derefl",
    "load_lcdh_student",
    "load_lcdh_teacher",
    "open_picture",
    "save_picture",
]

__version__ = version("derefl")

_HOMES = {
    "HashIndex": "derefl.hashing.index.hash_index",
    "dereflect_folder": "derefl.reflection.folder",
    "list_models": "derefl.zoo",
    "load_derefl": "derefl.reflection.remover",
    "load_lcdh_student": "derefl.hashing.hasher",
    "load_lcdh_teacher": "derefl.hashing.teacher_pipeline",
    "open_picture": "derefl.imaging.files",
    "save_picture": "derefl.imaging.files",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, because torch and timm take seconds to import."""
    if name not in _HOMES:
        raise AttributeError(f"module 'derefl' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
