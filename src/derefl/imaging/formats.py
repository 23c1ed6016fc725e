"""The file formats that derefl writes, and what each of them holds."""

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image, __version__

from derefl.errors import ImageError, MissingExtraError
from derefl.imaging.alpha import without_alpha
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
        side: the most pixels of a side.
    """

    name: str
    modes: frozenset[str]
    transparent: frozenset[str]
    stand_ins: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    side: int = 2**31 - 1


DEEP = frozenset({"LA;16", "RGB;16", "RGBA;16"})

JPEG = Format(
    "JPEG",
    modes=frozenset({"1", "L", "P", "RGB", "CMYK"}),
    transparent=frozenset(),
    stand_ins={"1": "L", "P": "RGB"},
    options={"quality": 95, "subsampling": 0},
    side=65_500,  # of libjpeg
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
    side=16_383,
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
    side=32_768,  # libavif writes larger ones, and does not read them
)
HEIF = Format(
    "HEIF",
    modes=AVIF.modes,
    transparent=frozenset(),
    stand_ins=AVIF.stand_ins,
    options={"quality": 90, "subsampling": "4:2:0"},  # phones cannot show finer ones
    side=AVIF.side,
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

# fmt: off
RAW_SUFFIXES = frozenset({
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".k25",
    ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl",
    ".sr2", ".srf", ".srw", ".x3f",
})
# fmt: on
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

    Alpha counts only if a pixel is not opaque.

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
    if not holds(form, image) and not holds(form, plain := without_alpha(image)):
        others = [suffix for suffix in (".png", ".tif") if holds(FORMATS[suffix], image)]
        if not others:
            raise unsupported(image.mode)
        if max(image.size) > form.side:
            what = f"{image.width}×{image.height} pixels, at most {form.side} a side"
        elif plain.has_transparency_data:
            what = "transparency"
        else:
            what = f"pictures of mode {image.mode}"
        raise ImageError(
            f"{path}: {form.name} cannot hold {what}; save it as {path.with_suffix(others[0])}"
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
    """Whether nothing of the picture's size, colours, depth and alpha is lost in this format."""
    modes = form.transparent if image.has_transparency_data else form.modes
    return image.mode in modes and max(image.size) <= form.side


def unsupported(mode: str) -> ImageError:
    """The error for a picture of a mode that derefl does not read."""
    return ImageError(
        f"mode {mode} is not supported, expected grey, RGB, CMYK or palette colours of 8 or 16 "
        "bits; convert the picture to an RGB PNG or TIFF first"
    )


def need_heif(path: Path) -> None:
    """Make sure that HEIF can be read and written.

    Raises:
        MissingExtraError: it cannot.
    """
    if find_spec("pillow_heif") is None:
        raise MissingExtraError("pillow-heif", "heic", f"{path}: HEIF")
