"""Overlapping spans that cover a length, with weights for blending without seams."""

from typing import NamedTuple

import torch
from torch import Tensor


class Span(NamedTuple):
    """A piece of one axis.

    Attributes:
        start, stop: in pixels.
        weight: float32 ``[stop−start]``; at each pixel, the weights of all spans sum to 1.
    """

    start: int
    stop: int
    weight: Tensor


FADE = 128
"""Width in pixels of the transition between two spans."""


def spans(length: int, *, side: int, overlap: int) -> list[Span]:
    """Cover a length with overlapping spans.

    The transition is in the middle of an overlap. Pixels near the edge of a span have weight 0,
    because the network sees too little context there.

    Args:
        length: length of the axis in pixels.
        side: length of a span; the last span may be shorter, but is longer than the overlap.
        overlap: pixels that two neighbours share, at least :data:`FADE`; a span may overlap only
            its two neighbours.
    """
    rim = torch.zeros((overlap - FADE) // 2)
    t = (torch.arange(FADE) + 0.5) / FADE
    rise = torch.cat([rim, t * t * (3 - 2 * t), 1 - rim])
    result = []
    for start in range(0, max(1, length - overlap), side - overlap):
        stop = min(start + side, length)
        weight = torch.ones(stop - start)
        if start > 0:
            weight[:overlap] *= rise
        if stop < length:
            weight[-overlap:] *= 1 - rise
        result.append(Span(start, stop, weight))
    return result
