"""The frequency part of inter-layer complementarity: M, the residual split, and the block G."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


def mean_filter(x: Tensor, kernel: int) -> Tensor:
    """M of the paper: the box mean over ``kernel`` × ``kernel`` pixels, reflect-padded.

    Args:
        x: float ``[b c h w]`` with ``h, w > kernel // 2``.
        kernel: odd width of the box in pixels.

    Returns:
        ``[b c h w]``; a constant picture does not change.
    """
    radius = kernel // 2
    x = F.pad(x, (radius, radius, radius, radius), mode="reflect")
    # A box is separable: two passes with k taps instead of one pass with k² taps.
    return F.avg_pool2d(F.avg_pool2d(x, (1, kernel), stride=1), (kernel, 1), stride=1)


def split_residual(image: Tensor, transmission: Tensor, kernel: int) -> tuple[Tensor, Tensor]:
    """Split I = T + R_low + R_high, with R_low = M(I) − M(T) (paper abstract; M is linear).

    Args:
        image: I, float ``[b 3 h w]``.
        transmission: T, the same shape.
        kernel: width of M.

    Returns:
        ``(residual_low, residual_high)``, signed, each ``[b 3 h w]``; they sum to I − T.
    """
    residual = image - transmission
    low = mean_filter(residual, kernel)
    return low, residual - low


class HighFrequencyBlock(nn.Module):
    """G of the paper: R̂_high from T̂ and R̂_low, and the inverse modulation of both streams.

    Inputs and outputs of G are from the paper. The layers are our choice: one dense and one
    separable convolution at half resolution, and a feature-wise affine modulation.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(24, dim, 3, padding=1, padding_mode="replicate")
        self.depthwise = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.pointwise = nn.Linear(dim, dim)
        self.to_high = nn.Linear(dim, 12)
        self.to_modulation = nn.Linear(dim, 4 * dim)
        nn.init.normal_(self.to_high.weight, std=1e-3)
        nn.init.zeros_(self.to_high.bias)
        nn.init.zeros_(self.to_modulation.weight)
        nn.init.zeros_(self.to_modulation.bias)

    def forward(
        self, transmission: Tensor, residual_low: Tensor, t: Tensor, r: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Predict the high band and modulate both streams.

        Args:
            transmission: T̂, ``[b 3 h w]``, h and w even.
            residual_low: R̂_low, ``[b 3 h w]``.
            t: transmission stream at half resolution, ``[b h/2 w/2 dim]``.
            r: residual stream, the same shape.

        Returns:
            ``(residual_high [b 3 h w], t, r)`` with modulated streams.
        """
        layers = F.pixel_unshuffle(torch.cat([transmission, residual_low], dim=1), 2)
        x = F.gelu(self.embed(layers.contiguous(memory_format=torch.channels_last)))
        x = rearrange(x + self.depthwise(x), "b c h w -> b h w c")
        x = F.gelu(self.pointwise(x))
        scale_t, shift_t, scale_r, shift_r = self.to_modulation(x).chunk(4, dim=-1)
        return (
            pixels_from_tokens(self.to_high(x)),
            t * (1 + scale_t) + shift_t,
            r * (1 + scale_r) + shift_r,
        )


def pixels_from_tokens(x: Tensor) -> Tensor:
    """Unfold 2 × 2 pixels from each token: ``[b h w 12] -> [b 3 2h 2w]``."""
    return rearrange(x, "b h w (c p q) -> b c (h p) (w q)", p=2, q=2)
