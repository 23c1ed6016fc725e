"""The one step of the network that sees a whole picture at once: the mean of each channel.

The channel attention of a tile needs the means of the picture that the tile is cut from; with its
own, every tile would get another tone. They are handed over in a context variable, which each
thread has for itself: the network keeps nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch.nn.functional as F
from torch import Tensor


def own_mean(x: Tensor) -> Tensor:
    """``[b h w c] -> [b 1 1 c]``."""
    return x.mean(dim=(1, 2), keepdim=True)


_mean: ContextVar[Callable[[Tensor], Tensor]] = ContextVar("mean", default=own_mean)


def picture_mean(x: Tensor) -> Tensor:
    """Mean of each channel over the picture that x is, or is a tile of.

    ``[b h w c] -> [b 1 1 c]``.
    """
    return _mean.get()(x)


@contextmanager
def replaying(means: Sequence[Tensor]) -> Iterator[None]:
    """Give these means, in this order, to one pass of the network inside the ``with``."""
    stored = iter(means)
    token = _mean.set(lambda x: next(stored).to(x))
    try:
        yield
    finally:
        _mean.reset(token)


@contextmanager
def recording(weight: Tensor, means: Sequence[Tensor] | None = None) -> Iterator[list[Tensor]]:
    """Collect the means of one pass of the network inside the ``with``, in its order.

    Args:
        weight: of each pixel, float ``[h w]``, h and w multiples of 32.
        means: what the network is given meanwhile, as by :func:`replaying`; else its own means.

    Yields:
        A list that fills with the means of each channel times weight, float32 ``[b 1 1 c]``.
    """
    seen: list[Tensor] = []
    stored = None if means is None else iter(means)

    def record(x: Tensor) -> Tensor:
        h, w = x.shape[1:3]
        share = F.adaptive_avg_pool2d(weight[None].to(x), (h, w))[..., None]
        seen.append(own_mean(x.float() * share))
        return own_mean(x) if stored is None else next(stored).to(x)

    token = _mean.set(record)
    try:
        yield seen
    finally:
        _mean.reset(token)
