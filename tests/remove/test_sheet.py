"""The before/after sheet and the contact sheet."""

import re

import numpy as np
import pytest
from PIL import Image

from derefl.imaging import compare
from derefl.imaging.compare import (
    LABEL,
    MARGIN,
    PANEL,
    TILE,
    TITLE,
    contact_sheet,
    missing_letters,
    panel,
    shortened,
    side_by_side,
)
from derefl.imaging.sixteen_bit import SixteenBitPicture
from derefl.imaging.strips import STRIP
from derefl.imaging.tensors import colours, to_bytes
from tests.pictures import KINDS, picture

COLOURS = {"before": (200, 0, 0), "after": (0, 200, 0), "reflection": (0, 0, 200)}


def sheet(width, height):
    panels = {label: Image.new("RGB", (width, height), c) for label, c in COLOURS.items()}
    return side_by_side(panels)


def boxes(image):
    """Left, top, right and bottom of each coloured panel, edges included."""
    array, result = np.asarray(image), []
    for colour in COLOURS.values():
        ys, xs = np.nonzero((array == colour).all(axis=2))
        result.append((xs.min(), ys.min(), xs.max(), ys.max()))
    return result


def test_panels_are_in_a_row_and_wide_panels_in_a_column():
    row = [(8, 32, 307, 231), (316, 32, 615, 231), (624, 32, 923, 231)]
    assert boxes(sheet(300, 200)) == row
    column = [(8, 32, 407, 131), (8, 164, 407, 263), (8, 296, 407, 395)]
    assert boxes(sheet(400, 100)) == column


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (3, 5000), (5000, 3), (2000, 1500)])
def test_each_panel_has_a_label_and_the_sheet_is_not_too_large(size):
    image = sheet(*size)
    assert max(image.size) <= 3 * (PANEL + 60) + 100
    array = np.asarray(image).astype(int)
    letters = max(LABEL, min(PANEL, max(size)) // 40)
    for left, top, _, _ in boxes(image):
        label = array[top - letters - MARGIN : top, left : left + 2 * letters]
        dark = np.nonzero((label < 128).any(axis=(1, 2)))[0]
        assert letters / 2 < np.ptp(dark) + 1 <= letters * 1.2


@pytest.mark.parametrize("kind", KINDS)
def test_modes_may_be_mixed(kind):
    part, other = picture(kind), picture("RGB", seed=1)
    array = np.asarray(side_by_side({"a": part, "b": other}))
    assert (array[32:50, 8:32] == to_bytes(colours(part))).all()
    assert (array[32:50, -32:-8] == np.asarray(other)).all()


def test_long_labels_are_shortened_and_missing_letters_are_told(monkeypatch):
    names = ["7  photo.jpg", "7  " + "long_" * 30 + "name.jpg"]
    sheet = contact_sheet([(name, None) for name in names], "title")
    columns = (np.asarray(sheet)[TITLE + 16 : TITLE + 16 + LABEL] < 128).any(axis=(0, 2))
    second = MARGIN + TILE + MARGIN
    assert not columns[second + TILE :].any() and columns[second + TILE - 20 :].any()
    font = compare.fonts(LABEL)[0]
    assert shortened(names[0], font, TILE) == names[0]
    assert re.fullmatch(r"7  (long_)+\w*\.\.\.\w*name\.jpg", shortened(names[1], font, TILE))
    monkeypatch.setattr(compare, "fonts", lambda size: [font])  # the default font alone
    assert missing_letters("a b.jpg\n") == ""
    assert missing_letters("海 b滩.jpg") == "海滩"


def test_sixteen_bits_are_shown_in_eight():
    ramp = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16, 1).repeat(3, axis=2)
    assert (np.asarray(panel(SixteenBitPicture(ramp))) == ramp // 257).all()


@pytest.mark.parametrize("kind", ["CMYK", "P", "I;16"])
def test_a_large_picture_is_converted_in_strips(monkeypatch, kind):
    sizes = []

    def listen(image):
        sizes.append(image.width * image.height)
        return colours(image)

    image = picture(kind, (1500, 1400))
    monkeypatch.setattr(compare, "colours", listen)
    assert (np.asarray(panel(image)) == to_bytes(colours(image))).all()
    assert sum(sizes) == 1500 * 1400 and max(sizes) <= STRIP
