"""Fold batch norms into the convolutions before them: the same numbers, less memory traffic.

On a CPU, memory bandwidth limits a light backbone, and each batch norm reads and writes every
value once.
"""

import copy
from itertools import chain, pairwise
from typing import Any, Generic, TypeVar

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

M = TypeVar("M", bound=nn.Module)


class Folded(Generic[M]):
    """A copy of a module for inference. The copy is rebuilt after the module has changed."""

    def __init__(self) -> None:
        self._made: tuple[Any, M] | None = None

    def of(self, module: M) -> M:
        """The copy in evaluation mode. It equals ``module`` except for rounding."""
        state = [fingerprint(t) for t in chain(module.parameters(), module.buffers())]
        made = self._made
        if made is None or made[0] != state:
            # One assignment of both, so that other threads never see a mixed pair.
            made = self._made = state, folded(copy.deepcopy(module).eval())
        return made[1]


def fingerprint(tensor: Tensor) -> tuple[int, int]:
    """A pair that changes with every in-place change and every move to another device or dtype."""
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version


def folded(module: M) -> M:
    """Fold each batch norm that directly follows a convolution into the convolution, in place."""
    for (name, first), (next_name, second) in pairwise(list(module.named_children())):
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(first, second))
            # timm's batch norm includes the activation.
            setattr(module, next_name, getattr(second, "act", nn.Identity()))
    for child in module.children():
        folded(child)
    return module
