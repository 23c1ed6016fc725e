"""The file formats that derefl writes, and what each can store."""

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor, __version__

from derefl.errors import ConfigError, ImageError, MissingExtraError
from derefl.imaging.sixteen_bit import Picture, SixteenBitPicture


@dataclass(frozen=True)
class Format:
    """The features of a file format, and its options for writing.

    Attributes:
        name: Pillow's name of the format.
        modes: modes without loss of depth or channels.
        transparent: modes with exact transparency.
        stand_ins: modes that are written as another mode with the same colours.
        options: options for ``Image.save``.
        side: largest side in pixels.
    """

    name: str
    modes: frozenset[str]
    transparent: frozenset[str] = frozenset()
    stand_ins: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    side: int = 2**31 - 1


DEEP = frozenset({"LA;16", "RGB;16", "RGBA;16"})

JPEG = Format(
    "JPEG",
    modes=frozenset({"1", "L", "P", "RGB", "CMYK"}),
    stand_ins={"1": "L", "P": "RGB"},
    options={"quality": 95, "subsampling": 0},
    side=65_500,  # limit of libjpeg
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
    options={"compression": "raw"},  # compression needs libtiff, which cannot write the EXIF block
)
AVIF = Format(
    "AVIF",
    modes=frozenset({"1", "L", "P", "RGB"}),  # its alpha is lossy
    stand_ins={"1": "RGB", "L": "RGB", "P": "RGB"},
    options={"quality": 90, "subsampling": "4:4:4"},
    side=32_768,  # libavif writes larger pictures, but cannot read them
)
HEIF = Format(
    "HEIF",
    modes=AVIF.modes,
    stand_ins=AVIF.stand_ins,
    options={"quality": 90, "subsampling": "4:2:0"},  # phones cannot show 4:4:4
    side=AVIF.side,
)

FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), JPEG),
    ".png": PNG,
    **dict.fromkeys((".tif", ".tiff"), TIFF),
    ".webp": WEBP,
    ".avif": AVIF,
    **dict.fromkeys((".heic", ".heif", ".hif"), HEIF),
}
"""Suffix in lower case to format."""

# fmt: off
RAW_SUFFIXES = frozenset({
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".k25",
    ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl",
    ".sr2", ".srf", ".srw", ".x3f",
})
# fmt: on
"""Suffixes of camera raw files, in lower case. derefl does not read raw files."""

VIDEO_SUFFIXES = frozenset(
    [".avi", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".webm", ".wmv"]
)
"""Suffixes of videos, in lower case."""

OPAQUE = dict.fromkeys(("1", "L", "LA"), "L") | dict.fromkeys(("P", "PA", "RGB", "RGBA"), "RGB")
"""8-bit mode to mode without transparency."""


def is_picture_name(path: Path) -> bool:
    """Whether the suffix belongs to a format that derefl writes."""
    return path.suffix.lower() in FORMATS


def prepared(image: Picture, path: Path, background: str | None = None) -> tuple[Format, Picture]:
    """The format for the suffix, and the picture as the format can store it.

    If the format lacks the picture's transparency, opaque alpha is dropped, and a background
    replaces other transparency.

    Raises:
        ConfigError: the background is not a colour.
        ImageError: unknown suffix, or the format cannot store the picture; the message suggests
            another format.
        MissingExtraError: the package for HEIF is not installed.
    """
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise ImageError(
            f"{path} has the suffix {path.suffix or '(none)'}, expected one of "
            f"{', '.join(FORMATS)}; save it as {path.with_suffix('.png')}"
        )
    plain = image if holds(form, image) else without_alpha(image)
    clear = not holds(form, plain) and plain.has_transparency_data
    if clear and background and plain.mode in OPAQUE:
        plain = on_background(plain, background)
    if not holds(form, plain):
        others = [suffix for suffix in (".png", ".tif") if holds(FORMATS[suffix], image)]
        if not others:
            raise unsupported(image.mode)
        if max(image.size) > form.side:
            what = f"{image.width}×{image.height} pixels, at most {form.side} a side"
        elif clear:
            what = "transparency"
        else:
            what = f"pictures of mode {image.mode}"
        hint = (
            ", or put it on a colour: --background white on the command line, "
            "background='white' in Python"
            if clear and plain.mode in OPAQUE and not background
            else ""
        )
        raise ImageError(
            f"{path}: {form.name} cannot hold {what}; save it as {path.with_suffix(others[0])}"
            f"{hint}"
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
    return form, plain


def holds(form: Format, image: Picture) -> bool:
    """Whether the format keeps the picture's size, colours, depth and alpha."""
    modes = form.transparent if image.has_transparency_data else form.modes
    return image.mode in modes and max(image.size) <= form.side


def without_alpha(image: Picture) -> Picture:
    """A copy without transparency data if every pixel is opaque; else the picture itself.

    Transparency data is an alpha channel, a transparent colour, or the alpha of a palette.
    """
    if not image.has_transparency_data or not is_opaque(image):
        return image
    info = {key: value for key, value in image.info.items() if key != "transparency"}
    if isinstance(image, SixteenBitPicture):
        if image.mode != "LA;16":
            return SixteenBitPicture(image.pixels[..., :3], info)
        grey = image.pixels[..., 0].astype("<u2")
        plain = Image.frombytes("I;16", image.size, grey.tobytes())
    else:
        plain = image.copy()
    plain.info = info
    if plain.has_transparency_data:  # in the mode or in the palette
        plain = plain.convert(OPAQUE.get(plain.mode, "RGB"))
    return plain


def on_background(image: Picture, background: str) -> Image.Image:
    """The picture without transparency, on a page of a colour; grey stays grey."""
    page = Image.new("RGBA", image.size, rgb(background))
    page.alpha_composite(image.convert("RGBA"))
    plain = page.convert(OPAQUE[image.mode])
    plain.info = {key: value for key, value in image.info.items() if key != "transparency"}
    return plain


def rgb(colour: str) -> tuple[int, ...]:
    """Red, green and blue of a colour, 0 to 255.

    Raises:
        ConfigError: Pillow does not know the colour.
    """
    try:
        return ImageColor.getrgb(colour)[:3]
    except ValueError as error:
        raise ConfigError(
            f"got {colour!r}, expected a colour, such as white or '#f0f0f0'"
        ) from error


def is_opaque(image: Picture) -> bool:
    """Whether all pixels of a picture with transparency data are opaque."""
    if isinstance(image, SixteenBitPicture):
        pixels = image.pixels
        if "A" in image.mode:
            return bool(pixels[..., -1].min() == 65535)
    elif image.mode.startswith("I"):
        pixels = np.asarray(image)[..., None]
    else:
        alpha = image if "A" in image.getbands() else image.convert("RGBA")
        return alpha.getchannel("A").getextrema()[0] == 255
    return not (pixels == image.info["transparency"]).all(axis=2).any()


def unsupported(mode: str) -> ImageError:
    """The error for a picture with an unsupported mode."""
    return ImageError(
        f"mode {mode} is not supported, expected grey, RGB, CMYK or palette colours of 8 or 16 "
        "bits; convert the picture to an RGB PNG or TIFF first"
    )


def need_heif(path: Path) -> None:
    """Raise MissingExtraError if HEIF cannot be read and written."""
    if find_spec("pillow_heif") is None:
        raise MissingExtraError("pillow-heif", "heic", f"{path}: HEIF")
