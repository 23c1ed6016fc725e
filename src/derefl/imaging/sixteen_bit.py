"""Pictures with several channels of 16 bits; PIL has no mode for them."""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from derefl.errors import ImageError

MODES = {2: "LA;16", 3: "RGB;16", 4: "RGBA;16"}
"""Number of channels to mode; the names are like PIL's ``I;16``."""


@dataclass(frozen=True, eq=False)
class SixteenBitPicture:
    """A picture with 16 bits per channel: RGB, RGBA, or grey with alpha.

    derefl opens, processes and saves a SixteenBitPicture like a PIL picture. 16-bit grey without
    alpha is PIL's mode ``I;16``.

    Attributes:
        pixels: uint16 ``[h w c]``; grey and alpha, RGB, or RGBA (alpha not premultiplied).
        info: metadata under PIL's names: ``icc_profile``, ``exif``, ``xmp``, ``dpi``, …;
            ``transparency`` is a 16-bit colour.

    Raises:
        ImageError: pixels with another type or shape.
    """

    pixels: NDArray[np.uint16]
    info: dict[Any, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        array = self.pixels
        if array.dtype != np.uint16 or array.ndim != 3 or array.shape[2] not in MODES:
            raise ImageError(
                f"got pixels {array.dtype} {list(array.shape)}, expected uint16 [h w c] with 2, 3 "
                "or 4 channels; pass 8 bits as Image.fromarray(array)"
            )
        if array.size == 0:
            raise ImageError(
                f"got a picture of {self.width}×{self.height} pixels, expected at least 1×1"
            )

    @property
    def mode(self) -> str:
        """``LA;16``, ``RGB;16`` or ``RGBA;16``."""
        return MODES[self.pixels.shape[2]]

    @property
    def width(self) -> int:
        """In pixels."""
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        """In pixels."""
        return self.pixels.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height

    @property
    def has_transparency_data(self) -> bool:
        """Whether there is an alpha channel or a transparent colour."""
        return self.pixels.shape[2] != 3 or "transparency" in self.info

    def convert(self, mode: str) -> Image.Image:
        """Convert to an 8-bit PIL picture; a transparent colour becomes alpha."""
        eight = ((self.pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
        info = dict(self.info)
        if (key := info.pop("transparency", None)) is not None:
            shown = (self.pixels != np.asarray(key)).any(axis=2)
            eight = np.dstack([eight, shown * np.uint8(255)])
        image = Image.fromarray(eight)
        image.info = info
        return image.convert(mode)


Picture: TypeAlias = Image.Image | SixteenBitPicture
"""What :func:`~derefl.imaging.files.open_picture` returns."""
