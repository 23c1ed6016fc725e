"""Small pictures of every mode, and what they carry, for the tests of imaging and pipeline."""

from functools import cache

import numpy as np
from PIL import Image, ImageCms

ORIENTATION, MAKE, EXIF_IFD, GPS_IFD = 0x0112, 0x010F, 0x8769, 0x8825
MAKER_NOTE = bytes(range(64))

KINDS = (
    "RGB",
    "RGBA",
    "L",
    "LA",
    "P",
    "P one transparent",
    "P alpha",
    "CMYK",
    "1",
    "I",
    "I;16",
    "I;16B",
    "RGB transparent colour",
    "L transparent colour",
    "I;16 transparent colour",
)


def picture(kind: str, size: tuple[int, int] = (24, 18), seed: int = 0) -> Image.Image:
    """A picture of random pixels; what follows the mode in ``kind`` is its transparency."""
    mode, _, transparency = kind.partition(" ")
    rng = np.random.default_rng(seed)
    shape = (size[1], size[0])
    if mode.startswith("I"):
        values = rng.integers(0, 65536, shape)
        dtype = {"I": "=i4", "I;16": "<u2", "I;16B": ">u2"}[mode]
        image = Image.frombytes(mode, size, values.astype(dtype).tobytes())
    elif mode == "1":
        image = Image.fromarray(rng.integers(0, 2, shape).astype(np.uint8) * 255).convert("1")
    else:
        bands = len(Image.new(mode, (1, 1)).getbands())
        image = Image.frombytes(mode, size, rng.integers(0, 256, (*shape, bands), np.uint8))
        if mode == "P":
            image.putpalette(rng.integers(0, 256, 768, np.uint8).tobytes())
    if transparency == "alpha":
        image.info["transparency"] = rng.integers(0, 256, 256, np.uint8).tobytes()
    elif transparency == "one transparent":
        image.info["transparency"] = image.getpixel((3, 4))
    elif transparency == "transparent colour":
        image.info["transparency"] = key = image.getpixel((3, 4))
        image.paste(key, (5, 5, 9, 9)) if mode != "I;16" else None
    return image


def same_pixels(a: Image.Image, b: Image.Image) -> bool:
    """Same mode, size and pixels; of palette pictures, the same colours and alpha."""
    if a.mode != b.mode or a.size != b.size:
        return False
    if a.mode == "P":
        a, b = a.convert("RGBA"), b.convert("RGBA")
    return a.tobytes() == b.tobytes()


@cache  # it has the time of day in it
def icc_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif_block(orientation: int | None = None) -> bytes:
    """EXIF with a maker, a date, a maker's own block, a place and maybe an orientation."""
    exif = Image.Exif()
    exif[MAKE] = "Testcam"
    if orientation is not None:
        exif[ORIENTATION] = orientation
    exif[EXIF_IFD] = {0x9003: "2024:05:06 07:08:09", 0x927C: MAKER_NOTE}
    exif[GPS_IFD] = {1: "N", 3: "E"}
    return exif.tobytes()
