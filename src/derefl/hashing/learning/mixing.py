"""Mixtures of pairs, after mixup (our choice): new pairs that the model has not memorised."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor


def mixing(count: int, most: float, rng: Generator) -> Tensor:
    """Shares ``[n n]`` that mix every pair with another pair; each row sums to 1.

    With the same shares, mixed pictures, texts and teacher features still belong together.

    Args:
        count: number of pairs, n.
        most: maximum share of the other pair; the share is uniform from 0 to this.
        rng: NumPy generator.
    """
    pairs = np.eye(count, dtype=np.float32)
    other = rng.permutation(count)
    share = rng.uniform(0, most, (count, 1)).astype(np.float32)
    return torch.from_numpy((1 - share) * pairs + share * pairs[other])


def mixed(shares: Tensor, units: Tensor) -> Tensor:
    """Unit vectors ``[m d]``, the first n mixed by shares ``[n n]``, normalised again."""
    n = len(shares)
    return F.normalize(torch.cat([shares.to(units) @ units[:n], units[n:]]), dim=-1)
