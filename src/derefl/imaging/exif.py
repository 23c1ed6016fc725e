"""EXIF that is true of the picture."""

import re
import struct
from contextlib import suppress

from PIL import Image

ORIENTATION = 0x0112
EXIF_IFD, GPS_IFD = 0x8769, 0x8825
WIDTH, HEIGHT, PIXEL_WIDTH, PIXEL_HEIGHT = 0x0100, 0x0101, 0xA002, 0xA003

PLACES = (0x9214, 0xA214)
"""EXIF tags with the position of the subject before rotation."""

THUMBNAIL, THUMBNAIL_LENGTH = 0x0201, 0x0202
SHORT, LONG = 3, 4
"""Number types in EXIF."""

DESCRIPTIVE = (
    *(0x010D, 0x010E, 0x010F, 0x0110, 0x011D, 0x0131, 0x0132, 0x013B, 0x013C, 0x4746, 0x4749),
    *(0x8298, EXIF_IFD, GPS_IFD, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F),
)
"""Tags that describe the photo: names, description, make, model, software, date, artist, computer,
rating, copyright, the EXIF and GPS blocks, and Windows' title, comment, author, keywords and
subject. The other tags of a TIFF describe the layout of the file."""


def tiff_exif(image: Image.Image) -> bytes:
    """The EXIF of a TIFF, collected from the file's tags."""
    exif = descriptive_exif(image.getexif())
    return exif.tobytes() if len(exif) else b""


def upright_exif(raw: bytes, size: tuple[int, int], turned: bool = False) -> bytes:
    """Correct EXIF for an upright picture of this size, and keep all other bytes in place.

    Orientation becomes 1. Width and height are set if the block has them. The thumbnail is removed,
    and so is the position of the subject if the picture was turned. Pillow would write a new block
    and lose maker notes that use absolute offsets.

    Raises:
        ValueError, struct.error: not an EXIF block, or a truncated block.
    """
    tiff = bytearray(re.sub(rb"^(Exif\0\0)+", b"", raw))
    if tiff[:4] not in (b"II*\0", b"MM\0*"):
        raise ValueError("not an EXIF block")
    order = "<" if tiff[:2] == b"II" else ">"
    width, height = size
    facts = {ORIENTATION: 1, WIDTH: width, HEIGHT: height, PIXEL_WIDTH: width, PIXEL_HEIGHT: height}

    def table(place: int) -> dict[int, int]:
        """Correct the tags at an offset; return the values that are numbers or offsets."""
        (count,) = struct.unpack_from(f"{order}H", tiff, place)
        start, end = place + 2, place + 2 + 12 * count
        kept, values = bytearray(), {}
        for at in range(start, end, 12):
            tag, kind, length, value = struct.unpack_from(f"{order}HHII", tiff, at)
            if kind == SHORT:
                (value,) = struct.unpack_from(f"{order}H", tiff, at + 8)
            if tag in facts and value != facts[tag]:
                kind, length, value = LONG if facts[tag] > 65535 else SHORT, 1, facts[tag]
                form = "HHIHxx" if kind == SHORT else "HHII"
                struct.pack_into(f"{order}{form}", tiff, at, tag, kind, length, value)
            values[tag] = value
            if not (turned and tag in PLACES):
                kept += tiff[at : at + 12]
        struct.pack_into(f"{order}H", tiff, place, len(kept) // 12)
        link = tiff[end : end + 4]
        tiff[start : end + len(link)] = (kept + link).ljust(end + len(link) - start, b"\0")
        return values

    (first,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, first)
    end = first + 2 + 12 * count
    (small,) = struct.unpack_from(f"{order}I", tiff, end)
    struct.pack_into(f"{order}I", tiff, end, 0)
    values = table(first)
    with suppress(struct.error):  # keep the rest of the block if an offset is invalid
        if EXIF_IFD in values:
            table(values[EXIF_IFD])
        values = table(small) if small else {}
        start, length = values.get(THUMBNAIL, 0), values.get(THUMBNAIL_LENGTH, 0)
        last = start + length >= len(tiff)
        tiff[start : start + length] = b"" if last else bytes(length)
    return b"Exif\0\0" + bytes(tiff)


def descriptive_exif(exif: Image.Exif) -> Image.Exif:
    """Only the tags that are valid in a file with another format or layout."""
    kept = Image.Exif()
    for tag in DESCRIPTIVE:
        if tag in exif:
            kept[tag] = exif.get_ifd(tag) if tag in (EXIF_IFD, GPS_IFD) else exif[tag]
    return kept
