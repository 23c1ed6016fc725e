"""What a picture carries besides its pixels: orientation, EXIF and XMP, kept true to the pixels."""

import re
import struct
from contextlib import nullcontext
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from derefl.errors import ImageError
from derefl.imaging.deep import DeepPicture, Picture
from derefl.imaging.opening import damaged, quiet

ORIENTATION = 0x0112
EXIF_IFD, GPS_IFD, XMP = 0x8769, 0x8825, 0x02BC

DESCRIPTIVE = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298, EXIF_IFD, GPS_IFD)
"""Tags that say something about the photo: description, make, model, software, date, artist,
copyright, and the EXIF and GPS blocks. The other tags of a TIFF say how *that file* is stored."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

UNREADABLE = (SyntaxError, ValueError, TypeError, KeyError, AttributeError, struct.error, OSError)
"""What Pillow, or the parser below, raises on EXIF that is not well formed."""


@overload
def upright(image: Image.Image) -> Image.Image: ...
@overload
def upright(image: DeepPicture) -> DeepPicture: ...


def upright(image: Picture) -> Picture:
    """Decode a picture and turn its pixels the way it is meant to be seen.

    Args:
        image: a picture, decoded or not; it is not changed. Of several frames, the current.

    Returns:
        A copy whose ``info`` has the same entries, but EXIF and XMP say "not rotated" and EXIF no
        longer points to a thumbnail, which would still show the old picture. EXIF that cannot be
        parsed is left out.

    Raises:
        ImageError: the file behind the picture is damaged or cut short, or it has no pixels.
    """
    if isinstance(image, DeepPicture):
        carrier = Image.new("L", (1, 1))
        carrier.info = image.info
        turn, info = upright_info(carrier)
        return DeepPicture(turned(image.pixels, turn), info)
    loaded(image)
    if 0 in image.size:
        raise ImageError(f"got a picture of {image.width}×{image.height} pixels, expected some")
    turn, info = upright_info(image)
    result = image.copy() if turn is None else image.transpose(turn)
    result.info = info
    return result


def loaded(image: Image.Image) -> Image.Image:
    """The same picture, decoded.

    Raises:
        ImageError: the file behind it is damaged or cut short.
    """
    try:
        with quiet() if warns(image) else nullcontext():
            image.load()
    except MemoryError:
        raise
    except Exception as error:  # a decoder raises whatever it trips over
        raise damaged(getattr(image, "filename", "") or "the picture", error) from error
    return image


def warns(image: Image.Image) -> bool:
    """Whether Pillow may warn while it decodes: of its own limit, and of EXIF spread in a TIFF."""
    pixels = image.width * image.height
    return image.format == "TIFF" or pixels > (Image.MAX_IMAGE_PIXELS or pixels)


def upright_info(image: Image.Image) -> tuple[Image.Transpose | None, dict[Any, Any]]:
    """How a picture is to be turned, if at all, and its ``info`` once that is done."""
    info = dict(image.info)
    info.pop("exif", None)
    try:
        with quiet():
            orientation, exif = image.getexif().get(ORIENTATION, 1), plain_exif(image)
    except UNREADABLE:
        orientation, exif = 1, None
    if exif is not None:
        info["exif"] = exif
    for key in ("xmp", "XML:com.adobe.xmp"):
        if key in info:
            info[key] = upright_xmp(info[key])
    return TURNS.get(orientation), info


def turned(pixels: NDArray[Any], turn: Image.Transpose | None) -> NDArray[Any]:
    """``Image.transpose`` of an array ``[h w c]``."""
    if turn is None:
        return pixels.copy()
    places = np.arange(pixels.shape[0] * pixels.shape[1], dtype=np.int32)
    order = Image.fromarray(places.reshape(pixels.shape[:2])).transpose(turn)
    return pixels.reshape(-1, pixels.shape[2])[np.asarray(order)]


def plain_exif(image: Image.Image) -> bytes | None:
    """The picture's EXIF block, said to be upright and without thumbnail; None if it has none."""
    if "exif" in image.info:
        return upright_exif(image.info["exif"])
    exif = descriptive_exif(image.getexif())  # a TIFF's, which is spread over the file
    return exif.tobytes() if len(exif) else None


def upright_exif(raw: bytes) -> bytes:
    """Set orientation to 1 and unlink the thumbnail, every other byte as it was.

    Written anew by Pillow, the block would lose what camera makers put in by absolute position.

    Raises:
        ValueError, struct.error: not an EXIF block, or cut short.
    """
    tiff = bytearray(re.sub(rb"^(Exif\0\0)+", b"", raw))
    if tiff[:4] not in (b"II*\0", b"MM\0*"):
        raise ValueError("not an EXIF block")
    order = "<" if tiff[:2] == b"II" else ">"
    (first,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, first)
    end = first + 2 + 12 * count
    for entry in range(first + 2, end, 12):
        if struct.unpack_from(f"{order}H", tiff, entry) == (ORIENTATION,):
            struct.pack_into(f"{order}HHIHH", tiff, entry, ORIENTATION, 3, 1, 1, 0)
    struct.pack_into(f"{order}I", tiff, end, 0)
    return b"Exif\0\0" + bytes(tiff)


def tiff_block(raw: bytes, xmp: Any) -> bytes:
    """The descriptive tags of EXIF, none if it cannot be parsed, and XMP if it is bytes."""
    exif, kept = Image.Exif(), Image.Exif()
    try:
        with quiet():
            exif.load(raw)
            kept = descriptive_exif(exif)
            kept.tobytes()
    except UNREADABLE:
        kept = Image.Exif()
    if isinstance(xmp, bytes):
        kept[XMP] = xmp
    return kept.tobytes()


def descriptive_exif(exif: Image.Exif) -> Image.Exif:
    """Only the tags that stay true in a file of another format or layout."""
    kept = Image.Exif()
    for tag in DESCRIPTIVE:
        if tag in exif:
            kept[tag] = exif.get_ifd(tag) if tag in (EXIF_IFD, GPS_IFD) else exif[tag]
    return kept


def upright_xmp(xmp: Any) -> Any:
    """XMP, text or bytes, with its orientation set to 1."""
    if isinstance(xmp, str):
        return re.sub(r'(tiff:Orientation(?:="|>))\d', r"\g<1>1", xmp)
    if isinstance(xmp, bytes):
        return re.sub(rb'(tiff:Orientation(?:="|>))\d', rb"\g<1>1", xmp)
    return xmp
