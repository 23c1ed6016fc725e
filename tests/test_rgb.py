"""A picture in every mode gives the network the same 8-bit RGB."""

import numpy as np
import pytest
from PIL import Image

from derefl.imaging.sixteen_bit import SixteenBitPicture
from derefl.imaging.tensors import to_rgb
from tests.pictures import same_pixels

X = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
COLOUR = Image.fromarray(np.dstack([X, X[::-1], X.T.reshape(6, 8)]))
GREY = COLOUR.convert("L")
G, C = np.asarray(GREY), np.asarray(COLOUR)
HIDDEN = np.zeros((6, 8), bool)
HIDDEN[2:4, 1:5] = True


def wide(mode: str, dtype: str, grey: np.ndarray = G) -> Image.Image:
    return Image.frombytes(mode, (8, 6), (grey.astype(dtype) * 257).tobytes())


def with_key(
    image: Image.Image | SixteenBitPicture, key: object
) -> Image.Image | SixteenBitPicture:
    image.info["transparency"] = key
    return image


def deep(*channels: np.ndarray) -> SixteenBitPicture:
    return SixteenBitPicture(np.dstack(channels).astype(np.uint16) * 257)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (COLOUR, COLOUR),
        (COLOUR.convert("CMYK"), COLOUR),
        (COLOUR.convert("RGBX"), COLOUR),
        (COLOUR.quantize(64), COLOUR),
        (deep(C), COLOUR),
        (GREY, GREY),
        (wide("I;16", "<u2"), GREY),
        (wide("I;16B", ">u2"), GREY),
        (wide("I", "=i4"), GREY),
        (deep(G, np.full_like(G, 255)), GREY),
    ],
    ids=lambda image: image.mode,
)
def test_every_mode_gives_the_same_8_bit_colours(image, expected):
    assert same_pixels(to_rgb(image), expected.convert("RGB"))


def hidden(kind: str, under: int) -> Image.Image | SixteenBitPicture:
    """The picture with invisible pixels of the colour ``under``."""
    alpha = np.where(HIDDEN, 0, 255).astype(np.uint8)
    pixels = C if kind.startswith(("R", "P")) else G
    pixels = np.where(HIDDEN if pixels is G else HIDDEN[..., None], under, pixels).astype(np.uint8)
    key = (under,) * 3 if pixels.ndim == 3 else under
    if kind in ("RGBA", "LA"):
        return Image.fromarray(np.dstack([pixels, alpha]))
    if kind in ("RGBA;16", "LA;16"):
        return deep(pixels, alpha)
    if kind == "RGB;16":
        return with_key(deep(pixels), (under * 257,) * 3)
    if kind == "I;16":
        return with_key(wide(kind, "<u2", pixels), under * 257)
    image = Image.fromarray(pixels)
    if kind == "P":
        image = image.quantize(64)
        key = image.getpixel((1, 2))
    return with_key(image, key)


@pytest.mark.parametrize(
    "kind", ["RGBA", "LA", "RGBA;16", "LA;16", "RGB", "L", "RGB;16", "I;16", "P"]
)
def test_colours_that_nobody_sees_are_white(kind):
    expected = np.array((COLOUR if kind.startswith(("R", "P")) else GREY).convert("RGB"))
    expected[HIDDEN] = 255
    for under in (3, 254):  # not in the picture
        assert same_pixels(to_rgb(hidden(kind, under)), Image.fromarray(expected))


def test_half_alpha_is_composited():
    image = Image.new("RGBA", (1, 1), (0, 100, 200, 51))
    assert to_rgb(image).getpixel((0, 0)) == (204, 224, 244)
    assert to_rgb(deep(np.asarray(image))).getpixel((0, 0)) == (204, 224, 244)
