"""Small pictures of every mode, with metadata, for the tests of imaging and pipeline."""

import struct
from functools import cache

import numpy as np
from PIL import Image, ImageCms

from derefl.imaging.sixteen_bit import Picture, SixteenBitPicture

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
    """A picture of random pixels; the words after the mode in ``kind`` select its transparency."""
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


def deep_picture(kind: str, size: tuple[int, int] = (24, 18), seed: int = 0) -> SixteenBitPicture:
    """Random pixels of 16 bits: LA, RGB or RGBA, optionally with "transparent colour"."""
    mode, _, transparency = kind.partition(" ")
    shape = (size[1], size[0], len(mode.removesuffix(";16")))
    pixels = np.random.default_rng(seed).integers(0, 65536, shape, np.uint16)
    if mode != "RGB;16":
        pixels[:: max(2, size[1] // 2), :, -1] = 0  # a few invisible rows
    info = {}
    if transparency:
        info["transparency"] = tuple(map(int, pixels[-1, 0]))
        pixels[: size[1] // 2, : size[0] // 2] = pixels[-1, 0]
    return SixteenBitPicture(pixels, info)


def same_pixels(a: Picture, b: Picture) -> bool:
    """Same mode, size and pixels; of palette pictures, the same colours and alpha."""
    if a.mode != b.mode or a.size != b.size:
        return False
    if isinstance(a, SixteenBitPicture):
        return bool((a.pixels == b.pixels).all())
    if a.mode == "P":
        a, b = a.convert("RGBA"), b.convert("RGBA")
    return a.tobytes() == b.tobytes()


@cache  # the profile contains the time of day
def icc_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


SRGB_CURVE = [2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045]

# Red, green and blue of a colour space as XYZ under D50, and its curve: a gamma, or as above.
SPACES = {
    "Display P3": (
        (0.51512, 0.2412, -0.00105, 0.29198, 0.69225, 0.04189, 0.1571, 0.06657, 0.78407),
        SRGB_CURVE,
    ),
    "Adobe RGB": (
        (0.60974, 0.31111, 0.01947, 0.20528, 0.62567, 0.06087, 0.14919, 0.06322, 0.74457),
        [2.19921875],
    ),
}


def wide_profile(name: str) -> bytes:
    """An ICC profile (version 4.3) of one of the spaces above, with the required tags only."""

    def fixed(*numbers: float) -> bytes:
        return struct.pack(f">{len(numbers)}i", *(round(n * 65536) for n in numbers))

    xyz, curve = SPACES[name]
    kind = 3 if len(curve) > 1 else 0
    parts = {b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1, 0.8249)}
    for index, colour in enumerate((b"r", b"g", b"b")):
        parts[colour + b"XYZ"] = b"XYZ \0\0\0\0" + fixed(*xyz[3 * index : 3 * index + 3])
        parts[colour + b"TRC"] = b"para" + struct.pack(">IHH", 0, kind, 0) + fixed(*curve)
    text = name.encode("utf-16-be")
    words = struct.pack(">4sIII4sII", b"mluc", 0, 1, 12, b"enUS", len(text), 28) + text
    parts |= {b"desc": words + b"\0\0", b"cprt": words + b"\0\0"}
    table, body, place = b"", b"", 128 + 4 + 12 * len(parts)
    for key, value in parts.items():
        value += bytes(-len(value) % 4)
        table += struct.pack(">4sII", key, place + len(body), len(value))
        body += value
    size = place + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"", 0x04300000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H4s", 2024, 1, 1, 0, 0, 0, b"acsp").ljust(44, b"\0")
    head += fixed(0.9642, 1, 0.8249)
    return head.ljust(128, b"\0") + struct.pack(">I", len(parts)) + table + body


def exif_block(orientation: int | None = None) -> bytes:
    """EXIF with a maker, a date, a maker note, a location and an optional orientation."""
    exif = Image.Exif()
    exif[MAKE] = "Testcam"
    if orientation is not None:
        exif[ORIENTATION] = orientation
    exif[EXIF_IFD] = {0x9003: "2024:05:06 07:08:09", 0x927C: MAKER_NOTE}
    exif[GPS_IFD] = {1: "N", 3: "E"}
    return exif.tobytes()
