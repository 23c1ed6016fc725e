"""Read a picture in strips of rows, without a float copy of the whole picture."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from derefl.imaging.sixteen_bit import Picture
from derefl.imaging.strips import POINTWISE, STRIP, cut
from derefl.imaging.tensors import to_tensor


@dataclass(frozen=True, kw_only=True)
class RowReader:
    """The colours of a picture, read on demand.

    Attributes:
        read: from ``top, bottom`` to these rows, float32 ``[b 3 n w]`` in [0, 1].
        height, width: size of the picture in pixels.
        step: rows per strip.
    """

    read: Callable[[int, int], Tensor]
    height: int
    width: int
    step: int

    @classmethod
    def of_tensor(cls, pixels: Tensor) -> "RowReader":
        """Rows of pixels ``[b 3 h w]``."""
        h, w = pixels.shape[2:]
        return cls(
            read=lambda top, bottom: pixels[:, :, top:bottom],
            height=h,
            width=w,
            step=max(1, STRIP // w),
        )

    @classmethod
    def of_picture(cls, image: Picture) -> "RowReader":
        """Rows of a picture; a single strip if the mode is not in :data:`POINTWISE`."""
        w, h = image.size
        step = max(1, STRIP // w) if image.mode in POINTWISE else h
        return cls(
            read=lambda top, bottom: to_tensor(cut(image, top, bottom)),
            height=h,
            width=w,
            step=step,
        )

    def strips(self) -> Iterator[tuple[int, int]]:
        """Yield top and bottom of each strip."""
        for top in range(0, self.height, self.step):
            yield top, min(top + self.step, self.height)

    def shrunk(self, height: int, width: int) -> Tensor:
        """The picture scaled down to ``[b 3 height width]``.

        The result is that of ``F.interpolate(…, mode="bilinear", antialias=True)``.
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


def enlarged(small: Tensor, height: int, width: int, top: int, bottom: int) -> Tensor:
    """Rows ``top`` to ``bottom`` of ``F.interpolate(small, (height, width), mode="bilinear")``.

    Args:
        small: float32 ``[b c h w]``.
        height, width: size of the whole enlarged picture.
        top, bottom: the requested rows.

    Returns:
        ``[b c bottom−top width]``.
    """
    y = (torch.arange(top, bottom) + 0.5) * (2 / height) - 1
    # First interpolate the few requested rows at the old column centres, then the columns.
    x = (torch.arange(small.shape[3]) + 0.5) * (2 / small.shape[3]) - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).expand(len(small), -1, -1, -1)
    rows = F.grid_sample(small, grid, padding_mode="border", align_corners=False)
    return F.interpolate(rows, (bottom - top, width), mode="bilinear")
