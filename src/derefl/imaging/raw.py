"""Recognise raw files of cameras, which derefl does not read."""

from typing import BinaryIO

from PIL.TiffImagePlugin import ImageFileDirectory_v2

from derefl.imaging.formats import RAW_SUFFIXES
from derefl.imaging.quiet import quiet

REDUCED, COLOURS = 0x00FE, 0x0106
"""TIFF tags: smaller copy of another page, and colour space."""

SUB_IFDS, DNG_VERSION = 0x014A, 0xC612
"""TIFF tags: further pictures of a page, and the version of a DNG."""

RAW_STARTS = (
    *(b"FUJIFILMCCD-RAW", b"FOVb", b"\0MRM", b"II\x1a\0\0\0HEAPCCDR", b"\0\0\0\x18ftypcrx "),
    *(b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"II*\0\x10\0\0\0CR", b"II*\0\x08\0\0\0IIII"),
)
"""First bytes of raw files: Fujifilm, Sigma, Minolta, Canon, Olympus, Panasonic, Phase One."""

RAW_COLOURS = (32803, 34892)
"""TIFF's PhotometricInterpretation of sensor values, with one or three colours per pixel."""


def is_raw(file: BinaryIO, head: bytes, suffix: str, form: str) -> bool:
    """Whether a file is a camera's raw file: by content, and by suffix if the content allows.

    Args:
        file: the file.
        head: its first 64 bytes.
        suffix: of its name.
        form: the name of its format by the first bytes, empty if unknown.
    """
    if head.startswith(RAW_STARTS) or (form in ("", "TIFF") and suffix.lower() in RAW_SUFFIXES):
        return True
    return form == "TIFF" and is_raw_tiff(file, head)


def is_raw_tiff(file: BinaryIO, head: bytes) -> bool:
    """Whether a TIFF is a raw file; the first picture of a raw file is often a small preview."""

    def tags_at(place: int | None) -> ImageFileDirectory_v2:
        tags = ImageFileDirectory_v2(head[: 16 if 43 in head[2:4] else 8])
        file.seek(tags.next if place is None else place)
        tags.load(file)
        return tags

    try:
        with quiet():
            first = tags_at(None)
            parts = [first, *map(tags_at, first.get(SUB_IFDS, ()))]
            preview = first.get(REDUCED, 0) & 1 and SUB_IFDS in first
            raw = any(part.get(COLOURS) in RAW_COLOURS for part in parts)
            return bool(preview or raw or DNG_VERSION in first)
    except Exception:  # a parser may raise any exception; the reader reports the error later
        return False
