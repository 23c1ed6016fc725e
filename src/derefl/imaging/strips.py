"""Large pictures a few rows at a time: no float copy of the whole is ever made."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from derefl.imaging.deep import DeepPicture, Picture
from derefl.imaging.tensors import to_tensor

STRIP = 2**19
"""Pixels of a strip: some 50 MB of float32 with all that is made of it on the way."""

POINTWISE = ("1", "L", "LA", "RGB", "RGBA", "CMYK", "LA;16", "RGB;16", "RGBA;16")
"""Modes whose pixels are converted one by one. A palette is chosen for the whole picture, and
Pillow cannot join pieces of 16-bit grey in all versions: these stay in one piece."""


@dataclass(frozen=True)
class Rows:
    """The colours of a picture, read where they are needed.

    Attributes:
        read: rows ``top`` to ``bottom``, float32 ``[b 3 n w]`` in [0, 1].
        height, width: of the picture in pixels.
        step: rows of a strip.
    """

    read: Callable[[int, int], Tensor]
    height: int
    width: int
    step: int

    @classmethod
    def of_tensor(cls, pixels: Tensor) -> "Rows":
        """Rows of pixels ``[b 3 h w]``."""
        h, w = pixels.shape[2:]
        return cls(lambda top, bottom: pixels[:, :, top:bottom], h, w, max(1, STRIP // w))

    @classmethod
    def of_picture(cls, image: Picture) -> "Rows":
        """Rows of a picture; one strip of all of them where its mode allows no pieces."""
        w, h = image.size
        step = max(1, STRIP // w) if image.mode in POINTWISE else h
        return cls(lambda top, bottom: to_tensor(cut(image, top, bottom)), h, w, step)

    def strips(self, top: int = 0, bottom: int | None = None) -> Iterator[tuple[int, int]]:
        """Top and bottom of one strip after the other."""
        end = self.height if bottom is None else bottom
        for y in range(top, end, self.step):
            yield y, min(y + self.step, end)

    def shrunk(self, height: int, width: int) -> Tensor:
        """The picture in a smaller size, ``[b 3 height width]``, each pixel a mean over its area.

        It is what ``F.interpolate(…, mode="bilinear", antialias=True)`` makes of the whole.
        """
        narrow = [
            F.interpolate(
                self.read(top, bottom), (bottom - top, width), mode="bilinear", antialias=True
            )
            for top, bottom in self.strips()
        ]
        return F.interpolate(
            torch.cat(narrow, dim=2), (height, width), mode="bilinear", antialias=True
        )


def enlarged(small: Tensor, height: int, width: int, top: int, bottom: int, mode: str) -> Tensor:
    """Rows ``top`` to ``bottom`` of ``F.interpolate(small, (height, width), mode=mode)``.

    Args:
        small: float32 ``[b c h w]``.
        height, width: of the whole enlarged picture.
        top, bottom: the rows wanted.
        mode: ``bilinear`` or ``bicubic``.

    Returns:
        ``[b c bottom−top width]``.
    """
    y = (torch.arange(top, bottom) + 0.5) * (2 / height) - 1
    # First the rows, of which few are wanted, then the columns; columns meet their own centres.
    x = (torch.arange(small.shape[3]) + 0.5) * (2 / small.shape[3]) - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).expand(len(small), -1, -1, -1)
    rows = F.grid_sample(small, grid, mode=mode, padding_mode="border", align_corners=False)
    return F.interpolate(rows, (bottom - top, width), mode=mode)


def cut(image: Picture, top: int, bottom: int) -> Picture:
    """The rows ``top`` to ``bottom`` of a picture, in other respects like it."""
    if (top, bottom) == (0, image.height):
        return image
    if isinstance(image, DeepPicture):
        return DeepPicture(image.pixels[top:bottom], image.info)
    return image.crop((0, top, image.width, bottom))


def joined(pieces: Sequence[Picture]) -> Picture:
    """One picture of pieces that lie below each other; of modes in :data:`POINTWISE`."""
    first = pieces[0]
    if len(pieces) == 1:
        return first
    if isinstance(first, DeepPicture):
        arrays = [piece.pixels for piece in pieces if isinstance(piece, DeepPicture)]
        return DeepPicture(np.concatenate(arrays), first.info)
    result = Image.new(first.mode, (first.width, sum(piece.height for piece in pieces)))
    top = 0
    for piece in pieces:
        assert isinstance(piece, Image.Image)
        result.paste(piece, (0, top))
        top += piece.height
    result.info = first.info
    return result
