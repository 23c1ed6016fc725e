"""Palette pictures: at most 256 colours, exact alpha."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLOURS = 256


def quantise(pixels: NDArray[np.uint8]) -> Image.Image:
    """Convert RGBA pixels, uint8 ``[h w 4]``, to a palette picture.

    Up to 256 distinct colours are kept exactly. With more colours, each alpha level gets a part of
    the palette, chosen by median cut. So colours change, but alpha does not.
    """
    height, width = pixels.shape[:2]
    flat = np.ascontiguousarray(pixels).reshape(-1, 4)
    levels = np.unique(flat[:, 3])
    places = [flat[:, 3] == level for level in levels]
    distinct = np.array([len(np.unique(as_numbers(flat[place]))) for place in places])
    shares = distinct
    if distinct.sum() > COLOURS:
        shares = 1 + distinct * (COLOURS - len(levels)) // distinct.sum()
    index = np.zeros(len(flat), dtype=np.uint8)
    palette: list[NDArray[np.uint8]] = []
    alpha = bytearray()
    for level, place, share in zip(levels, places, shares, strict=True):
        colours, chosen = reduce(flat[place, :3], int(share))
        index[place] = chosen + len(alpha)
        palette.append(colours)
        alpha += bytes([level]) * len(colours)
    result = Image.frombytes("P", (width, height), index.tobytes())
    result.putpalette(np.concatenate(palette).tobytes())
    if min(alpha) < 255:
        result.info["transparency"] = bytes(alpha)
    return result


def reduce(colours: NDArray[np.uint8], count: int) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Reduce ``[n 3]`` to at most ``count`` colours ``[k 3]``; also return each pixel's index."""
    _, first, inverse = np.unique(as_numbers(colours), return_index=True, return_inverse=True)
    if len(first) <= count:
        return colours[first], inverse
    strip = Image.frombytes("RGB", (len(colours), 1), np.ascontiguousarray(colours).tobytes())
    reduced = strip.quantize(count, method=Image.Quantize.MEDIANCUT)
    chosen = np.frombuffer(reduced.tobytes(), dtype=np.uint8)
    palette = np.array(reduced.getpalette(), dtype=np.uint8).reshape(-1, 3)
    return palette[: int(chosen.max()) + 1], chosen


def as_numbers(colours: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Each colour as one number, because numpy sorts numbers much faster than rows."""
    return colours[:, :3].astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)
