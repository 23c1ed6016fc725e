"""Convert any picture to 8-bit RGB."""

import numpy as np
from PIL import Image

from derefl.imaging.formats import unsupported
from derefl.imaging.sixteen_bit import Picture, SixteenBitPicture
from derefl.imaging.tensors import FROM_COLOURS, WIDE, sixteen_bits

CONVERTIBLE = ("PA", "RGBX", "RGBa", "YCbCr", "HSV")
"""Modes that ``derefl remove`` does not read, but Pillow converts to RGB without clipping."""


def to_rgb(image: Picture) -> Image.Image:
    """Convert a picture to 8-bit RGB, as a viewer shows it on a white page.

    Alpha is composited over white. 16 bits are scaled to 8. The EXIF orientation is ignored: call
    :func:`~derefl.imaging.metadata.upright` first, or open the file with
    :func:`~derefl.imaging.files.open_picture`.

    Args:
        image: a picture with a mode that ``derefl remove`` reads, or a mode in
            :data:`CONVERTIBLE`. The picture is not changed.

    Returns:
        An RGB picture of the same size.

    Raises:
        ImageError: the mode is not supported, or a picture of mode I has values above 16 bits.
    """
    if isinstance(image, SixteenBitPicture):
        image = image.convert("RGBA")
    elif image.mode in WIDE:
        grey = sixteen_bits(image)
        shown = grey != image.info.get("transparency")
        image = SixteenBitPicture(np.dstack([grey, shown * np.uint16(65535)])).convert("RGBA")
    elif image.mode not in (*FROM_COLOURS, *CONVERTIBLE):
        raise unsupported(image.mode)
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
