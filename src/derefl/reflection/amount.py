"""The two layers of a photo, and how much reflection the network saw."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Separation:
    """A photo separated into two pictures, or arrays if the photo is an array.

    Unpacking gives both layers: ``transmission, reflection = model.separate(photo)``.

    Attributes:
        transmission: the scene behind the glass, the result of ``dereflect``.
        reflection: the removed reflection, clip(I − T̂, 0, 1). Where the network brightens a pixel,
            the reflection is 0.
        amount: how much reflection the network saw, before ``strength`` and ``mask``: the standard
            deviation of the removed brightness over the photo, from 0 to 0.5.
    """

    transmission: Any
    reflection: Any
    amount: float

    def __iter__(self) -> Iterator[Any]:
        return iter((self.transmission, self.reflection))


def amount(image: Tensor, clean: Tensor) -> float:
    """The standard deviation of the removed brightness over the photo, from 0 to 0.5.

    The brightness is the mean of clip(I − T̂, 0, 1) over RGB. A uniform change, for example of a
    misty photo, does not count. Our choice: of the simple measures, this one separates held-back
    photos with and without a reflection best.

    Args:
        image, clean: I and T̂, float ``[1 3 h w]`` in [0, 1].
    """
    return from_moments(moments(image, clean))


def moments(image: Tensor, clean: Tensor) -> Tensor:
    """Number, sum and sum of squares of the brightness, float64 ``[3]``; those of strips add up."""
    seen = (image - clean).clamp_min(0).mean(1)
    square = seen.square().sum(dtype=torch.float64)
    return torch.stack([torch.tensor(seen.numel()), seen.sum(dtype=torch.float64), square])


def from_moments(moments: Tensor) -> float:
    """The amount from the sum of the :func:`moments` of all strips."""
    number, total, squares = moments.tolist()
    return float(max(0.0, squares / number - (total / number) ** 2) ** 0.5)
