"""The before/after sheet."""

import numpy as np
import pytest
from PIL import Image

from derefl.imaging import compare
from derefl.imaging.compare import LABEL, MARGIN, PANEL, panel, side_by_side
from derefl.imaging.sixteen_bit import SixteenBitPicture
from derefl.imaging.strips import STRIP
from derefl.imaging.tensors import colours, to_bytes
from tests.pictures import KINDS, picture

LABELS = ("before", "after", "reflection")
COLOURS = ((200, 0, 0), (0, 200, 0), (0, 0, 200))


def sheet(width, height):
    return side_by_side(
        {
            label: Image.new("RGB", (width, height), colour)
            for label, colour in zip(LABELS, COLOURS, strict=True)
        }
    )


def boxes(image):
    """Left, top, right and bottom of each coloured panel, edges included."""
    array, result = np.asarray(image), []
    for colour in COLOURS:
        ys, xs = np.nonzero((array == colour).all(axis=2))
        result.append((xs.min(), ys.min(), xs.max(), ys.max()))
    return result


def test_panels_stand_in_a_row():
    assert boxes(sheet(300, 200)) == [
        (8, 32, 307, 231),
        (316, 32, 615, 231),
        (624, 32, 923, 231),
    ]


def test_wide_panels_stand_above_each_other():
    image = sheet(400, 100)
    assert image.size == (400 + 2 * MARGIN, 3 * (LABEL + 2 * MARGIN + 100) + MARGIN)
    assert boxes(image) == [(8, 32, 407, 131), (8, 164, 407, 263), (8, 296, 407, 395)]


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (3, 5000), (5000, 3), (2000, 1500)])
def test_every_panel_has_its_label_and_no_sheet_is_huge(size):
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


def test_sixteen_bits_are_shown_in_eight():
    ramp = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16, 1).repeat(3, axis=2)
    assert (np.asarray(panel(SixteenBitPicture(ramp))) == ramp // 257).all()


@pytest.mark.parametrize("kind", ["RGB", "P", "I;16"])
def test_a_large_picture_is_never_all_floats(monkeypatch, kind):
    sizes = []

    def listen(image):
        sizes.append(image.width * image.height)
        return colours(image)

    image = picture(kind, (1500, 1400))
    monkeypatch.setattr(compare, "colours", listen)
    shown = np.asarray(panel(image))
    assert (shown == to_bytes(colours(image))).all()
    assert sum(sizes) == 1500 * 1400
    assert max(sizes) <= STRIP
