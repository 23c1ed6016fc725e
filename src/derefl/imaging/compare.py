"""Sheets of pictures for people: side by side for comparison, or many small ones."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from derefl.imaging.sixteen_bit import Picture
from derefl.imaging.strips import STRIP, cut
from derefl.imaging.tensors import colours, to_bytes

PANEL = 1600
"""Longest side of a panel in pixels; larger pictures are scaled down."""

TILE, COLUMNS = 240, 5
"""Side in pixels of a tile of a contact sheet, and tiles per row."""

MARGIN, LABEL, TITLE = 8, 16, 22

FONTS = (
    *("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "arial.ttf"),
    *("msyh.ttc", "meiryo.ttc", "malgun.ttf"),
)
"""Fonts of Linux, macOS and Windows with many scripts, and with Chinese, Japanese and Korean."""

BLANK = (200, 200, 200)

WIDE = 3
"""Width / height from which panels are stacked vertically instead of in a row."""

RGB_MODES = ("RGB", "RGBA", "P", "RGB;16", "RGBA;16")
"""Modes with an ICC profile that is valid for RGB."""


def side_by_side(pictures: Mapping[str, Picture]) -> Image.Image:
    """Put pictures of any mode on white, each below its label; alpha is not shown.

    The pictures form a row, or a column if the first picture is very wide. The font size depends on
    the first picture, so that labels are readable when the sheet fills a screen.

    Args:
        pictures: label to picture, left to right or top to bottom.

    Returns:
        An RGB picture, with the first picture's ICC profile if the profile is for RGB.
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


def contact_sheet(tiles: Sequence[tuple[str, Image.Image | None]], title: str) -> Image.Image:
    """Put pictures of any mode on white, in rows of five, each below its label.

    Args:
        tiles: label and picture, in reading order; None instead of a picture gives a grey tile. A
            long label is shortened in the middle.
        title: text above all pictures, shortened like a label.

    Returns:
        An RGB picture.
    """
    columns, rows = max(1, min(COLUMNS, len(tiles))), -(-len(tiles) // COLUMNS)
    step, top = TILE + MARGIN, TITLE + 2 * MARGIN
    line = LABEL + MARGIN
    sheet = Image.new("RGB", (MARGIN + columns * step, top + rows * (line + step)), "white")
    draw = ImageDraw.Draw(sheet)

    def write(text: str, place: tuple[int, int], size: int, width: int) -> None:
        text = "".join(letter if letter.isprintable() else "?" for letter in text)
        font = min(fonts(size), key=lambda font: len(lacking(font, text)))
        draw.text(place, shortened(text, font, width), fill="black", font=font)

    write(title, (MARGIN, MARGIN), TITLE, sheet.width - 2 * MARGIN)
    for place, (label, picture) in enumerate(tiles):
        x, y = MARGIN + place % COLUMNS * step, top + place // COLUMNS * (line + step)
        write(label, (x, y), LABEL, TILE)
        sheet.paste(tile(picture), (x, y + line))
    return sheet


def missing_letters(text: str) -> str:
    """The letters of a text that no font of this computer has; a sheet shows boxes instead."""
    return "".join(sorted(set.intersection(*(lacking(font, text) for font in fonts(LABEL)))))


@cache
def fonts(size: int) -> list[Any]:
    """The default font, and fonts of this computer for more scripts."""
    found = [ImageFont.load_default(size)]
    for name in FONTS:
        with suppress(OSError):  # there is no such font
            found.append(ImageFont.truetype(name, size))
    return found


def lacking(font: Any, text: str) -> set[str]:
    """The printable letters of a text that a font lacks."""
    box = bytes(font.getmask("\uffff"))
    letters = {letter for letter in text if letter.isprintable()}
    return {letter for letter in letters if bytes(font.getmask(letter)) == box}


def shortened(text: str, font: Any, width: int) -> str:
    """The text, without a part in the middle if it is wider than ``width`` pixels."""
    short, keep = text, len(text)
    while keep and font.getlength(short) > width:
        keep -= 1
        short = f"{text[: keep - keep // 2]}...{text[len(text) - keep // 2 :]}"
    return short


def tile(picture: Picture | None) -> Image.Image:
    """The picture scaled down and centred in a white square, or a grey square for None."""
    if picture is None:
        return Image.new("RGB", (TILE, TILE), BLANK)
    small = panel(picture)
    small.thumbnail((TILE, TILE))
    square = Image.new("RGB", (TILE, TILE), "white")
    square.paste(small, ((TILE - small.width) // 2, (TILE - small.height) // 2))
    return square


def panel(image: Picture) -> Image.Image:
    """The picture in 8-bit RGB, no side longer than :data:`PANEL`."""
    if isinstance(image, Image.Image) and image.mode in ("RGB", "L"):
        small = image.copy()  # the same pixels as below, in less time
        small.thumbnail((PANEL, PANEL))
        small.info = {}
        return small.convert("RGB")
    step = max(1, STRIP // image.width)
    strips = [
        to_bytes(colours(cut(image, top, min(top + step, image.height))))
        for top in range(0, image.height, step)
    ]
    result = Image.fromarray(np.concatenate(strips))
    result.thumbnail((PANEL, PANEL))
    return result
