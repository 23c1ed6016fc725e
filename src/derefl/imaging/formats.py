"""The file formats that derefl writes, and what each of them holds."""

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image, __version__

from derefl.errors import ImageError, MissingExtraError
from derefl.imaging.deep import Picture


@dataclass(frozen=True)
class Format:
    """What a file format holds, and how it is written.

    Attributes:
        name: Pillow's name of it.
        modes: modes it holds without loss of depth or channels.
        transparent: those of them that it holds with transparency, alpha exact.
        stand_ins: modes written as another that holds the same colours.
        options: what ``Image.save`` is given.
    """

    name: str
    modes: frozenset[str]
    transparent: frozenset[str]
    stand_ins: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


DEEP = frozenset({"LA;16", "RGB;16", "RGBA;16"})

JPEG = Format(
    "JPEG",
    modes=frozenset({"1", "L", "P", "RGB", "CMYK"}),
    transparent=frozenset(),
    stand_ins={"1": "L", "P": "RGB"},
    options={"quality": 95, "subsampling": 0},
)
PNG = Format(
    "PNG",
    modes=frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16", "I;16B"}) | DEEP,
    transparent=frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}) | DEEP,
    stand_ins={"I": "I;16"},
)
WEBP = Format(
    "WEBP",
    modes=frozenset({"1", "L", "LA", "P", "RGB", "RGBA"}),
    transparent=frozenset({"LA", "P", "RGBA"}),
    stand_ins={"1": "RGB", "L": "RGB", "LA": "RGBA"},
    options={"quality": 95, "exact": True},
)
TIFF = Format(
    "TIFF",
    modes=frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16", "I;16B"})
    | {"RGB;16", "RGBA;16"},
    transparent=frozenset({"LA", "RGBA", "RGBA;16"}),
    options={"compression": "raw"},  # libtiff, which compresses, cannot write the EXIF block
)
AVIF = Format(
    "AVIF",
    modes=frozenset({"1", "L", "P", "RGB"}),
    transparent=frozenset(),  # its alpha is lossy
    stand_ins={"1": "RGB", "L": "RGB", "P": "RGB"},
    options={"quality": 90, "subsampling": "4:4:4"},
)
HEIF = Format(
    "HEIF",
    modes=AVIF.modes,
    transparent=frozenset(),
    stand_ins=AVIF.stand_ins,
    options={"quality": 90, "subsampling": "4:2:0"},  # phones cannot show finer ones
)

FORMATS = {
    ".jpg": JPEG,
    ".jpeg": JPEG,
    ".jpe": JPEG,
    ".jfif": JPEG,
    ".png": PNG,
    ".tif": TIFF,
    ".tiff": TIFF,
    ".webp": WEBP,
    ".avif": AVIF,
    ".heic": HEIF,
    ".heif": HEIF,
}
"""By suffix, in lower case."""

RAW_SUFFIXES = frozenset(
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .gpr .iiq .k25 .kdc .mef .mos .mrw .nef .nrw "
    ".orf .pef .raf .raw .rw2 .rwl .sr2 .srf .srw .x3f".split()
)
"""Suffixes of the cameras' raw files, in lower case. derefl reads none of them."""

VIDEO_SUFFIXES = frozenset(
    [".avi", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".webm", ".wmv"]
)
"""Suffixes of videos, in lower case."""


def is_picture_name(path: Path) -> bool:
    """Whether the name ends like a format that derefl writes."""
    return path.suffix.lower() in FORMATS


def format_for(image: Picture, path: Path) -> Format:
    """The format that the suffix names, if it holds such a picture and can be written here.

    Raises:
        ImageError: it does not, or there is no such suffix; the message names one that does.
        MissingExtraError: the format is HEIF, and the package for it is not installed.
    """
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise ImageError(
            f"{path} has the suffix {path.suffix or '(none)'}, expected one of "
            f"{', '.join(FORMATS)}; save it as {path.with_suffix('.png')}"
        )
    if not holds(form, image):
        other = next(suffix for suffix in (".png", ".tif") if holds(FORMATS[suffix], image))
        what = "transparency" if image.has_transparency_data else f"pictures of mode {image.mode}"
        raise ImageError(
            f"{path}: {form.name} cannot hold {what}; save it as {path.with_suffix(other)}"
        )
    if form is HEIF:
        need_heif(path)
    elif form is AVIF:
        Image.init()
        if "AVIF" not in Image.SAVE:
            raise ImageError(
                f"{path}: Pillow {__version__} has no AVIF; update Pillow to 11.3 or later, or "
                f"save it as {path.with_suffix('.png')}"
            )
    return form


def holds(form: Format, image: Picture) -> bool:
    """Whether nothing of the picture's colours, depth and alpha is lost in this format."""
    return image.mode in (form.transparent if image.has_transparency_data else form.modes)


def need_heif(path: Path) -> None:
    """Make sure that HEIF can be read and written.

    Raises:
        MissingExtraError: it cannot.
    """
    if find_spec("pillow_heif") is None:
        raise MissingExtraError("pillow-heif", "heic", f"{path}: HEIF")
