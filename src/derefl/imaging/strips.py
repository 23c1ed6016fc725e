"""Cut large pictures into strips of rows, and join the strips again."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from derefl.imaging.sixteen_bit import Picture, SixteenBitPicture

STRIP = 2**19
"""Pixels per strip: about 50 MB of float32 with all intermediate results."""

POINTWISE = ("1", "L", "LA", "RGB", "RGBA", "CMYK", "LA;16", "RGB;16", "RGBA;16")
"""Modes that can be converted in strips. A palette depends on the whole picture, and some versions
of Pillow cannot join pieces of 16-bit grey."""


def cut(image: Picture, top: int, bottom: int) -> Picture:
    """The rows ``top`` to ``bottom`` of a picture, with the same mode and ``info``."""
    if (top, bottom) == (0, image.height):
        return image
    if isinstance(image, SixteenBitPicture):
        return SixteenBitPicture(image.pixels[top:bottom], image.info)
    return image.crop((0, top, image.width, bottom))


def joined(pieces: Sequence[Picture]) -> Picture:
    """Join pieces from top to bottom; their mode must be in :data:`POINTWISE`."""
    first = pieces[0]
    if len(pieces) == 1:
        return first
    if isinstance(first, SixteenBitPicture):
        arrays = [piece.pixels for piece in pieces if isinstance(piece, SixteenBitPicture)]
        return SixteenBitPicture(np.concatenate(arrays), first.info)
    result = Image.new(first.mode, (first.width, sum(piece.height for piece in pieces)))
    top = 0
    for piece in pieces:
        assert isinstance(piece, Image.Image)
        result.paste(piece, (0, top))
        top += piece.height
    result.info = first.info
    return result
