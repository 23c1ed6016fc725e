"""Overlapping spans that cover a length, with weights that blend them without a seam."""

from typing import NamedTuple

import torch
from torch import Tensor


class Span(NamedTuple):
    """A piece of one axis.

    Attributes:
        start, stop: in pixels.
        weight: float32 ``[stop−start]``; of all spans that cover a pixel they sum to 1.
    """

    start: int
    stop: int
    weight: Tensor


FADE = 128
"""Pixels over which one span fades into the next."""


def spans(length: int, side: int, overlap: int) -> list[Span]:
    """Cover a length with spans, each overlapping the next.

    They fade in the middle of an overlap. What lies beyond, at the rim of a span, counts nothing:
    the network sees too little of its surroundings there.

    Args:
        length: of the axis, in pixels.
        side: of a span; the last one may be shorter, but is longer than the overlap.
        overlap: pixels that two neighbours share, at least :data:`FADE`; a span meets two others.
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
