"""Pictures side by side, to look at."""

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from derefl.imaging.deep import Picture
from derefl.imaging.strips import STRIP, cut
from derefl.imaging.tensors import colours, to_bytes

PANEL = 1600
"""Longest side of a panel in pixels; larger pictures are shown smaller."""

MARGIN, LABEL = 8, 16

WIDE = 3
"""Width over height from which panels stand one above the other instead of in a row."""

RGB_MODES = ("RGB", "RGBA", "P", "RGB;16", "RGBA;16")
"""Modes whose ICC profile holds for RGB too."""


def side_by_side(pictures: Mapping[str, Picture]) -> Image.Image:
    """Put pictures of any mode on white, each below its label; alpha is not shown.

    They stand in a row, or one above the other if the first is very wide. The letters grow with
    the first, so that they can be read when all of the sheet is on a screen.

    Args:
        pictures: label to picture, left to right or top to bottom.

    Returns:
        An RGB picture, with the first one's ICC profile if that is for RGB too.
    """
    panels = {label: panel(image) for label, image in pictures.items()}
    first = next(iter(panels.values()))
    stacked = first.width > WIDE * first.height
    size = max(LABEL, max(first.size) // 40)
    font = ImageFont.load_default(size)
    top = size + 2 * MARGIN
    cells = {
        label: (max(p.width, int(font.getlength(label)) + 1) + MARGIN, top + p.height)
        for label, p in panels.items()
    }
    widths, heights = zip(*cells.values(), strict=True)
    total = (max(widths), sum(heights)) if stacked else (sum(widths), max(heights))
    sheet = Image.new("RGB", (total[0] + MARGIN, total[1] + MARGIN), "white")
    draw, x, y = ImageDraw.Draw(sheet), MARGIN, 0
    for label, picture in panels.items():
        draw.text((x, y + MARGIN // 2), label, fill="black", font=font)
        sheet.paste(picture, (x, y + top))
        x, y = (x, y + cells[label][1]) if stacked else (x + cells[label][0], y)
    original = next(iter(pictures.values()))
    if original.mode in RGB_MODES and "icc_profile" in original.info:
        sheet.info["icc_profile"] = original.info["icc_profile"]
    return sheet


def panel(image: Picture) -> Image.Image:
    """The picture in 8-bit RGB, no side over :data:`PANEL`."""
    step = max(1, STRIP // image.width)
    strips = [
        to_bytes(colours(cut(image, top, min(top + step, image.height))))
        for top in range(0, image.height, step)
    ]
    result = Image.fromarray(np.concatenate(strips))
    result.thumbnail((PANEL, PANEL))
    return result
