"""Export a reflection model to ONNX: the network's layers and the result of ``dereflect``."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from derefl.reflection.any_size import SMALLER
from derefl.reflection.model import SMALLEST, DeRefl
from derefl.zoo.export import Export, Graph

OUTPUTS = ("clean", "transmission", "residual_low", "residual_high")
SHAPES = ((2, 150, 210), (1, 16, 16), (3, 100, 300), (1, 128, 127), (1, 192, 256), (2, 333, 257))
"""Batch, height and width of the samples for the comparison with torch. The first sample is traced:
its windows need padding at all strides, so the graph contains padding."""


class ExportedRemover(nn.Module):
    """The network at one size, and the mean of two sizes as in ``ReflectionRemover.transmission``.

    Sizes are tensors in all computations, because a trace stores Python numbers as constants.
    """

    def __init__(self, network: DeRefl) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """sRGB ``[b 3 h w]`` in [0, 1] → :data:`OUTPUTS`, all in this shape; clean in [0, 1]."""
        layers = self.network(image)
        smaller = scaled_down(image)
        small = self.network(smaller).transmission - smaller
        small = F.interpolate(small, image.shape[2:], mode="bicubic")
        clean = (layers.transmission + image + small) / 2
        return clean.clamp(0, 1), *layers


def scaled_down(image: Tensor) -> Tensor:
    """The image at no more than :data:`SMALLER` pixels, bilinear with antialiasing.

    This uses two matrix products, because ONNX has no operator that all runtimes support.
    """
    h, w = (torch.as_tensor(n) for n in image.shape[2:])
    scale = (SMALLER / (h * w)).sqrt().clamp(max=1)
    rows, columns = (shrinking(n, scale).to(image) for n in (h, w))
    return rows @ image @ columns.T


def shrinking(n: Any, scale: Tensor) -> Tensor:
    """Weights ``[m n]`` from n pixels to m = max(scale · n, 16): triangles of width 2·n/m.

    Args:
        n: an integer as a tensor, at least 16.
        scale: at most 1.
    """
    m = (scale * n).round().long().clamp(min=SMALLEST)
    scale = n / m
    centres = (torch.arange(m) + 0.5) * scale
    distance = (torch.arange(n) + 0.5 - centres[:, None]).abs() / scale
    weight = (1 - distance).clamp(min=0)
    return weight / weight.sum(dim=1, keepdim=True)


def graphs(network: DeRefl) -> Export:
    """The files of ``derefl export`` for a reflection model."""
    generator = torch.Generator().manual_seed(0)
    axes = {0: "batch", 2: "height", 3: "width"}
    return Export(
        (
            Graph(
                module=ExportedRemover(network).eval(),
                input="image",
                outputs=OUTPUTS,
                axes={name: axes for name in ("image", *OUTPUTS)},
                sizes=f"image: float32 [batch, 3, height, width], sRGB in [0, 1], height and width "
                f"of at least {SMALLEST}",
                samples=tuple(torch.rand(b, 3, h, w, generator=generator) for b, h, w in SHAPES),
            ),
        )
    )
