"""Read and write PNG and TIFF with 16 bits per channel.

Pillow decodes these files, but returns only the upper byte of each value. With the opposite byte
order, Pillow returns the lower byte. So derefl decodes a file twice and needs no other library.
"""

import io
import os
import struct
import sys
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin, TiffTags, __version__
from PIL.ImageFile import ImageFile

from derefl.errors import ImageError
from derefl.imaging.exif import tiff_exif
from derefl.imaging.metadata import gathered, loaded
from derefl.imaging.opening import PLANAR, quiet
from derefl.imaging.sixteen_bit import SixteenBitPicture

OTHER = {"B": "L", "L": "B"}
NATIVE = {"little": "L", "big": "B"}[sys.byteorder]

COLOUR_TYPE = {2: 4, 3: 2, 4: 6}
"""Number of channels to PNG's colour type."""

SUB, ROWS = 1, 64
"""PNG's filter type for differences to the left pixel, and rows compressed at a time."""


def raw_mode(image: ImageFile) -> str:
    """Pillow's raw mode of a picture that is not decoded yet, for example ``RGB;16B``."""
    if not image.tile:
        return ""
    args = image.tile[0][3]
    name = args[0] if isinstance(args, tuple) and args else args
    return name if isinstance(name, str) else ""


def is_sixteen_bit(image: ImageFile) -> bool:
    """Whether Pillow would reduce 16 bits to 8."""
    bits = getattr(image, "tag_v2", {}).get(ExifTags.Base.BitsPerSample, (8,))
    deep = ";16" in raw_mode(image) or max(bits) > 8
    # In a BMP, ";16" means 16 bits per pixel.
    return deep and image.format in ("PNG", "TIFF") and not image.mode.startswith(("I", "F"))


def read_sixteen_bit(image: ImageFile, again: ImageFile) -> SixteenBitPicture:
    """Decode a picture with :func:`is_sixteen_bit`; ``again`` is the same file, opened again."""
    name = os.fsdecode(image.filename)
    kind, _, order = raw_mode(image).partition(";16")
    planar = getattr(image, "tag_v2", {}).get(PLANAR, 1) != 1
    if kind not in ("LA", "RGB", "RGBA", "RGBX", "RGBa") or planar or not pillow_tells():
        what = "in planes" if planar else f"as {kind or image.mode}"
        raise ImageError(
            f"{name} has 16 bits a channel stored {what}, which Pillow {__version__} reads as 8; "
            "convert it to an RGB PNG of 16 bits"
        )
    if kind == "LA":  # four bytes per pixel, like 8-bit RGBA
        pixels: NDArray[np.uint16] = decoded(image, "RGBA").view(">u2").astype(np.uint16)
    else:
        stored, order = kind.replace("a", "A"), NATIVE if order == "N" else order
        pixels = decoded(image, f"{stored};16{order}").astype(np.uint16)
        pixels <<= 8
        pixels |= decoded(again, f"{stored};16{OTHER[order]}")
    if kind == "RGBa":
        pixels = divided(pixels)
    with quiet():
        info, lost = gathered(image)
        if not info.get("exif"):
            info["exif"] = tiff_exif(image)
    return SixteenBitPicture(pixels, info | ({"left_out": tuple(lost)} if lost else {}))


def pillow_tells() -> bool:
    """Whether this version of Pillow returns one of the two bytes, not the nearest 8-bit value."""
    return all(
        Image.frombytes("RGB", (1, 1), bytes(range(6)), "raw", raw).tobytes() == bytes(expected)
        for raw, expected in (("RGB;16B", (0, 2, 4)), ("RGB;16L", (1, 3, 5)))
    )


def decoded(image: ImageFile, raw: str) -> NDArray[np.uint8]:
    """The pixels, decoded with the raw mode ``raw`` and turned as the TIFF's orientation says."""
    image.tile = [retold(tile, raw) for tile in image.tile]
    return np.asarray(loaded(image))


def retold(tile: Any, raw: str) -> Any:
    """An entry of ``image.tile`` with another raw mode; from Pillow 11 on, a named tuple."""
    args = raw if isinstance(tile[3], str) else (raw, *tile[3][1:])
    return tile._replace(args=args) if hasattr(tile, "_replace") else (*tile[:3], args)


def divided(pixels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Premultiplied RGBA to RGBA."""
    alpha = pixels[..., 3:].astype(np.uint64)
    colours = (pixels[..., :3] * np.uint64(65535) + alpha // 2) // np.maximum(alpha, 1)
    return np.concatenate([np.minimum(colours, 65535), alpha], axis=2).astype(np.uint16)


def write_png(picture: SixteenBitPicture, file: BinaryIO, options: dict[str, Any]) -> None:
    """Write a PNG: Pillow writes a PNG of one pixel, then size and pixels are replaced."""
    buffer = io.BytesIO()
    key = {k: v for k, v in picture.info.items() if k == "transparency"}
    Image.new("RGB", (1, 1)).save(buffer, "PNG", **options | key)
    shell = buffer.getvalue()
    file.write(shell[:8])
    place = 8
    while place < len(shell):
        length, name = struct.unpack_from(">I4s", shell, place)
        data = shell[place + 8 : place + 8 + length]
        place += length + 12
        if name == b"IHDR":
            kind = COLOUR_TYPE[picture.pixels.shape[2]]
            data = struct.pack(">IIBBBBB", *picture.size, 16, kind, 0, 0, 0)
        for part in compressed(picture.pixels) if name == b"IDAT" else [data]:
            PngImagePlugin.putchunk(file, name, part)


def compressed(pixels: NDArray[np.uint16]) -> Iterator[bytes]:
    """The compressed pixels of a PNG, in parts."""
    step = 2 * pixels.shape[2]
    packer = zlib.compressobj(6)
    for start in range(0, len(pixels), ROWS):
        block = pixels[start : start + ROWS]
        rows = np.array(block, ">u2", order="C").view(np.uint8).reshape(len(block), -1)
        rows[:, step:] -= rows[:, :-step].copy()
        if part := packer.compress(np.insert(rows, 0, SUB, axis=1).tobytes()):
            yield part
    yield packer.flush()


def write_tiff(picture: SixteenBitPicture, file: BinaryIO, options: dict[str, Any]) -> None:
    """Write an uncompressed RGB or RGBA TIFF of one strip."""
    channels = picture.pixels.shape[2]
    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    exif = Image.Exif()
    exif.load(options["exif"])
    for tag in exif:
        tags[tag] = exif.get_ifd(tag) if tag in TiffTags.TAGS_V2_GROUPS else exif[tag]
    base = ExifTags.Base
    tags[base.ImageWidth], tags[base.ImageLength] = picture.size
    tags[base.BitsPerSample] = (16,) * channels
    tags[base.Compression], tags[base.PhotometricInterpretation] = 1, 2
    tags[base.SamplesPerPixel], tags[base.PlanarConfiguration] = channels, 1
    if channels == 4:
        tags[base.ExtraSamples] = 2
    tags[base.StripOffsets], tags[base.RowsPerStrip] = 0, picture.height
    tags[base.StripByteCounts] = picture.pixels.nbytes
    if "dpi" in options:
        tags[base.XResolution], tags[base.YResolution] = options["dpi"]
        tags[base.ResolutionUnit] = 2
    if "icc_profile" in options:
        tags[base.InterColorProfile] = options["icc_profile"]
    tags.save(file)
    file.write(np.ascontiguousarray(picture.pixels, dtype="<u2").tobytes())
