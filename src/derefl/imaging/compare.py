"""Pictures side by side, to look at."""

from collections.abc import Mapping

from PIL import Image, ImageDraw, ImageFont

from derefl.imaging.tensors import colours, to_bytes

PANEL = 1600
"""Longest side of a panel in pixels; larger pictures are shown smaller."""

MARGIN, LABEL = 8, 16


def side_by_side(pictures: Mapping[str, Image.Image]) -> Image.Image:
    """Put pictures of any mode in a row on white, each below its label; alpha is not shown.

    Args:
        pictures: label to picture, left to right.

    Returns:
        An RGB picture, with the first one's ICC profile if that is for RGB too.
    """
    font = ImageFont.load_default(LABEL)
    panels = {label: panel(image) for label, image in pictures.items()}
    widths = [max(p.width, int(font.getlength(label)) + 1) for label, p in panels.items()]
    top = LABEL + 2 * MARGIN
    height = top + max(p.height for p in panels.values()) + MARGIN
    row = Image.new("RGB", (sum(widths) + MARGIN * (len(widths) + 1), height), "white")
    draw, x = ImageDraw.Draw(row), MARGIN
    for (label, picture), width in zip(panels.items(), widths, strict=True):
        draw.text((x, MARGIN // 2), label, fill="black", font=font)
        row.paste(picture, (x, top))
        x += width + MARGIN
    first = next(iter(pictures.values()))
    if first.mode in ("RGB", "RGBA", "P") and "icc_profile" in first.info:
        row.info["icc_profile"] = first.info["icc_profile"]
    return row


def panel(image: Image.Image) -> Image.Image:
    """The picture in 8-bit RGB, no side over :data:`PANEL`."""
    result = Image.fromarray(to_bytes(colours(image)))
    result.thumbnail((PANEL, PANEL))
    return result
