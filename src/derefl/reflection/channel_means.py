"""Channel means over the whole picture, the only global step of the network.

The channel attention of a tile needs the means of the whole picture. With its own means, each tile
would get another tone. The means are passed in a context variable, which is local to each thread.
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
    """Mean of each channel over the whole picture, also if x is a tile.

    ``[b h w c] -> [b 1 1 c]``.
    """
    return _mean.get()(x)


@contextmanager
def replaying(means: Sequence[Tensor]) -> Iterator[None]:
    """Use these means, in this order, for one pass of the network inside the ``with``."""
    stored = iter(means)
    token = _mean.set(lambda x: next(stored).to(x))
    try:
        yield
    finally:
        _mean.reset(token)


@contextmanager
def recording(weight: Tensor, means: Sequence[Tensor] | None = None) -> Iterator[list[Tensor]]:
    """Record the means of one pass of the network inside the ``with``, in its order.

    Args:
        weight: weight of each pixel, float ``[h w]``, h and w multiples of 32.
        means: means for this pass, as in :func:`replaying`; None means the network's own means.

    Yields:
        A list that collects the mean of each channel times weight, float32 ``[b 1 1 c]``.
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
