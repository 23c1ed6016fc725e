"""What a picture carries besides its pixels: orientation, EXIF and XMP, kept true to the pixels."""

import re
import struct
from typing import Any

from PIL import Image

from derefl.errors import ImageError

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


def upright(image: Image.Image) -> Image.Image:
    """Decode a picture and turn its pixels the way it is meant to be seen.

    Args:
        image: a PIL picture, decoded or not; it is not changed. Of several frames, the current.

    Returns:
        A copy whose ``info`` has the same entries, but EXIF and XMP say "not rotated" and EXIF no
        longer points to a thumbnail, which would still show the old picture. EXIF that cannot be
        parsed is left out.

    Raises:
        ImageError: the file behind the picture is damaged or cut short, or it has no pixels.
    """
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # a decoder raises whatever it trips over
        name = getattr(image, "filename", "") or "the picture"
        raise ImageError(
            f"{name} is damaged or cut short ({error}); open it in a viewer, or get it again"
        ) from error
    if 0 in image.size:
        raise ImageError(f"got a picture of {image.width}×{image.height} pixels, expected some")
    try:
        orientation, exif = image.getexif().get(ORIENTATION, 1), plain_exif(image)
    except UNREADABLE:
        orientation, exif = 1, None
    turn = TURNS.get(orientation)
    result = image.copy() if turn is None else image.transpose(turn)
    result.info.pop("exif", None)
    if exif is not None:
        result.info["exif"] = exif
    for key in ("xmp", "XML:com.adobe.xmp"):
        if key in result.info:
            result.info[key] = upright_xmp(result.info[key])
    return result


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
        struct.error: not an EXIF block, or cut short.
    """
    tiff = bytearray(re.sub(rb"^(Exif\0\0)+", b"", raw))
    order = "<" if tiff[:2] == b"II" else ">"
    (first,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, first)
    end = first + 2 + 12 * count
    for entry in range(first + 2, end, 12):
        if struct.unpack_from(f"{order}H", tiff, entry) == (ORIENTATION,):
            struct.pack_into(f"{order}HHIHH", tiff, entry, ORIENTATION, 3, 1, 1, 0)
    struct.pack_into(f"{order}I", tiff, end, 0)
    return b"Exif\0\0" + bytes(tiff)


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
