"""Apply the network to a picture of any size.

``one_pass`` is a function that runs the network once: from pictures ``[b 3 h w]`` in [0, 1] to
their change T̂ − I, with the same shape. No state is kept between pictures.
"""

from collections.abc import Callable, Iterator

import torch.nn.functional as F
from torch import Tensor

from derefl.reflection.guided_filter import gain_and_offset
from derefl.reflection.model import SMALLEST
from derefl.reflection.row_reader import RowReader, enlarged

OnePass = Callable[[Tensor], Tensor]

LARGER, SMALLER = 384 * 512, 192 * 256
"""Pixels that the network sees at most, in two passes. The network is trained on small pictures and
recognises large reflections less well in larger ones; ``docs/notes/scores.md`` compares sizes."""

RADIUS, EPS = 2, 1e-4
"""Parameters of the guided filter."""


def changes(one_pass: OnePass, rows: RowReader) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Compute the change of a picture in strips from top to bottom.

    The network sees the picture at no more than :data:`LARGER` pixels. The guided filter transfers
    the change to full size.

    Yields:
        ``(top, pixels, change)``; pixels and change are float32 ``[b 3 n w]``.
    """
    h, w = rows.height, rows.width
    seen = rows.shrunk(*size_within(h, w, LARGER))
    gain, offset = gain_and_offset(seen, two_passes(one_pass, seen), radius=RADIUS, eps=EPS)
    for top, bottom in rows.strips():
        pixels = rows.read(top, bottom)
        change = pixels * enlarged(gain, h, w, top, bottom)
        yield top, pixels, change.add_(enlarged(offset, h, w, top, bottom))


def two_passes(one_pass: OnePass, pixels: Tensor) -> Tensor:
    """The mean of the changes at this size and at no more than :data:`SMALLER` pixels.

    ``[b 3 h w]`` in and out. In the smaller picture, the network sees more of a large reflection at
    once.
    """
    h, w = pixels.shape[2:]
    change = one_pass(pixels)
    size = size_within(h, w, SMALLER)
    if size == (h, w):
        return change
    small = F.interpolate(pixels, size, mode="bilinear", antialias=True)
    return (change + F.interpolate(one_pass(small), (h, w), mode="bicubic")) / 2


def size_within(height: int, width: int, most: int) -> tuple[int, int]:
    """Height and width of a picture, scaled down to this number of pixels if it has more."""
    padded = SMALLEST * max(height, width)  # pixels of a very long picture in the network
    scale = min(1, (most / (height * width)) ** 0.5, most / padded)
    return max(1, round(height * scale)), max(1, round(width * scale))
