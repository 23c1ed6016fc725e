"""A reflection model as an ONNX graph: the network, and what ``dereflect`` makes of it."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from derefl.reflection.big import HALVED_FROM
from derefl.reflection.model import SMALLEST, DeRefl
from derefl.zoo.export import Export, Graph

OUTPUTS = ("clean", "transmission", "residual_low", "residual_high")
SHAPES = ((2, 150, 210), (1, 16, 16), (3, 100, 300), (1, 128, 127), (1, 192, 256), (2, 333, 257))
"""Batch, height and width of what is compared with torch. The first is traced: at every stride its
windows need padding, in full and in half, so that the graph pads."""


class ExportedRemover(nn.Module):
    """The network at one size, and the mean of two as ``ReflectionRemover.transmission`` takes it.

    Sizes are tensors here wherever they are reckoned with, since a trace keeps numbers as they are.
    """

    def __init__(self, model: DeRefl) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """sRGB ``[b 3 h w]`` in [0, 1] → :data:`OUTPUTS`, each of that shape; clean in [0, 1]."""
        layers = self.model.forward(image)
        smaller = halved(image)
        small = self.model.forward(smaller).transmission - smaller
        h, w = image.shape[2:]
        small = F.interpolate(small, (h, w), mode="bicubic")
        shorter = torch.minimum(torch.as_tensor(h), torch.as_tensor(w))
        share = 0.5 * (shorter >= HALVED_FROM).to(image.dtype)
        change = (1 - share) * (layers.transmission - image) + share * small
        return (image + change).clamp(0, 1), *layers


def halved(image: Tensor) -> Tensor:
    """Half as high and wide, at least :data:`SMALLEST`, as bilinear antialiasing does it.

    By two matrix products: ONNX has no operator for it that every runtime knows.
    """
    rows, columns = (shrinking(torch.as_tensor(n)).to(image) for n in image.shape[2:])
    return rows @ image @ columns.T


def shrinking(n: Any) -> Tensor:
    """Weights ``[m n]`` of n pixels in each of m = max(n // 2, 16): triangles 2·n/m wide.

    Args:
        n: an integer as a tensor; at least 16.
    """
    m = (n // 2).clamp(min=SMALLEST)
    scale = n / m
    centres = (torch.arange(m) + 0.5) * scale
    distance = (torch.arange(n) + 0.5 - centres[:, None]).abs() / scale
    weight = (1 - distance).clamp(min=0)
    return weight / weight.sum(dim=1, keepdim=True)


def graphs(model: DeRefl) -> Export:
    """What ``derefl export`` writes of a reflection model."""
    generator = torch.Generator().manual_seed(0)
    axes = {0: "batch", 2: "height", 3: "width"}
    return Export(
        (
            Graph(
                module=ExportedRemover(model).eval(),
                input="image",
                outputs=OUTPUTS,
                axes={name: axes for name in ("image", *OUTPUTS)},
                sizes=f"image: float32 [batch, 3, height, width], sRGB in [0, 1], height and width "
                f"of at least {SMALLEST}",
                samples=tuple(torch.rand(b, 3, h, w, generator=generator) for b, h, w in SHAPES),
            ),
        )
    )
