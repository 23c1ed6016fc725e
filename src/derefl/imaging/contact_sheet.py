"""Many small pictures on one sheet."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from derefl.imaging.compare import LABEL, MARGIN, panel
from derefl.imaging.sixteen_bit import Picture

TILE = 240
"""Side in pixels of the square tile for a picture."""

COLUMNS = 5
TITLE = 22
BLANK = (200, 200, 200)


def contact_sheet(tiles: Sequence[tuple[str, Image.Image | None]], title: str) -> Image.Image:
    """Put pictures of any mode on white, in rows of five, each below its label.

    Args:
        tiles: label and picture, in reading order; None instead of a picture gives a grey tile.
        title: text above all pictures, cropped at the right edge.

    Returns:
        An RGB picture.
    """
    columns, rows = max(1, min(COLUMNS, len(tiles))), -(-len(tiles) // COLUMNS)
    step, top = TILE + MARGIN, TITLE + 2 * MARGIN
    line = LABEL + MARGIN
    sheet = Image.new("RGB", (MARGIN + columns * step, top + rows * (line + step)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(LABEL)
    draw.text((MARGIN, MARGIN), title, fill="black", font=ImageFont.load_default(TITLE))
    for place, (label, picture) in enumerate(tiles):
        x, y = MARGIN + place % COLUMNS * step, top + place // COLUMNS * (line + step)
        draw.text((x, y), label, fill="black", font=font)
        sheet.paste(tile(picture), (x, y + line))
    return sheet


def tile(picture: Picture | None) -> Image.Image:
    """The picture scaled down and centred in a white square, or a grey square for None."""
    if picture is None:
        return Image.new("RGB", (TILE, TILE), BLANK)
    small = panel(picture)
    small.thumbnail((TILE, TILE))
    square = Image.new("RGB", (TILE, TILE), "white")
    square.paste(small, ((TILE - small.width) // 2, (TILE - small.height) // 2))
    return square
