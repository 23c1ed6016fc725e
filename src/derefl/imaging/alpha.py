"""Remove an alpha channel that is fully opaque."""

import numpy as np
from PIL import Image

from derefl.imaging.sixteen_bit import Picture, SixteenBitPicture

PLAIN = {"RGBA": "RGB", "LA": "L", "PA": "RGB"}
"""Mode with alpha to mode without alpha."""


def without_alpha(image: Picture) -> Picture:
    """A copy without transparency data if every pixel is opaque; else the picture itself.

    Transparency data is an alpha channel, a transparent colour, or the alpha of a palette.
    """
    if not image.has_transparency_data or not is_opaque(image):
        return image
    info = {key: value for key, value in image.info.items() if key != "transparency"}
    if isinstance(image, SixteenBitPicture):
        if image.mode == "LA;16":
            grey = image.pixels[..., 0].astype("<u2")
            plain = Image.frombytes("I;16", image.size, grey.tobytes())
            plain.info = info
            return plain
        return SixteenBitPicture(image.pixels[..., :3], info)
    plain = image.copy()
    plain.info = info
    if plain.has_transparency_data:  # in the mode or in the palette
        plain = plain.convert(PLAIN.get(plain.mode, "RGB"))
    return plain


def is_opaque(image: Picture) -> bool:
    """Whether all pixels of a picture with transparency data are opaque."""
    if isinstance(image, SixteenBitPicture) and "A" in image.mode:
        return bool(image.pixels[..., -1].min() == 65535)
    if isinstance(image, SixteenBitPicture) or image.mode.startswith("I"):  # a transparent colour
        pixels = (
            image.pixels if isinstance(image, SixteenBitPicture) else np.asarray(image)[..., None]
        )
        return not (pixels == image.info["transparency"]).all(axis=2).any()
    if "A" not in image.getbands():
        image = image.convert("RGBA")
    return image.getchannel("A").getextrema()[0] == 255
