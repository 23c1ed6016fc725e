"""Export a reflection model to ONNX: the network's layers and the result of ``dereflect``."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from derefl.reflection.model import SMALLEST, DeRefl
from derefl.reflection.tiling.any_size import HALVED_FROM
from derefl.zoo.export import Export, Graph

OUTPUTS = ("clean", "transmission", "residual_low", "residual_high")
SHAPES = ((2, 150, 210), (1, 16, 16), (3, 100, 300), (1, 128, 127), (1, 192, 256), (2, 333, 257))
"""Batch, height and width of the samples for the comparison with torch. The first sample is traced:
its windows need padding at all strides, at full and at half size, so the graph contains padding."""


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
        smaller = half_size(image)
        small = self.network(smaller).transmission - smaller
        h, w = image.shape[2:]
        small = F.interpolate(small, (h, w), mode="bicubic")
        shorter = torch.minimum(torch.as_tensor(h), torch.as_tensor(w))
        share = 0.5 * (shorter >= HALVED_FROM).to(image.dtype)
        change = (1 - share) * (layers.transmission - image) + share * small
        return (image + change).clamp(0, 1), *layers


def half_size(image: Tensor) -> Tensor:
    """Halve height and width (at least :data:`SMALLEST`), bilinear with antialiasing.

    This uses two matrix products, because ONNX has no operator that all runtimes support.
    """
    rows, columns = (shrinking(torch.as_tensor(n)).to(image) for n in image.shape[2:])
    return rows @ image @ columns.T


def shrinking(n: Any) -> Tensor:
    """Weights ``[m n]`` from n pixels to m = max(n // 2, 16): triangles of width 2·n/m.

    Args:
        n: an integer as a tensor; at least 16.
    """
    m = (n // 2).clamp(min=SMALLEST)
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
