"""Mixtures of pairs: pairs too, which nobody has learned by heart (our choice, after mixup)."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor


def mixing(count: int, most: float, rng: Generator) -> Tensor:
    """Shares ``[n n]`` by which every pair is mixed with another; each row sums to 1.

    Pictures, texts and what a teacher makes of them, mixed alike, still belong together.

    Args:
        count: of pairs, n.
        most: of the other pair; its share is uniform from 0 to this.
        rng: NumPy generator.
    """
    pairs = np.eye(count, dtype=np.float32)
    other = rng.permutation(count)
    share = rng.uniform(0, most, (count, 1)).astype(np.float32)
    return torch.from_numpy((1 - share) * pairs + share * pairs[other])


def mixed(shares: Tensor, units: Tensor) -> Tensor:
    """Unit vectors ``[n d]`` mixed by shares ``[n n]``, and of unit length again."""
    return F.normalize(shares.to(units) @ units, dim=-1)
