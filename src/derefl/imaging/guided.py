"""The guided filter (He, Sun and Tang): carries a change found in a small picture to a large one.

In a small window the change D is taken as linear in the picture I: D ≈ gain·I + offset. Gain and
offset vary slowly, so they can be enlarged, and the large picture I gives D its edges.
"""

import torch.nn.functional as F
from torch import Tensor


def gain_and_offset(
    guide: Tensor, change: Tensor, radius: int, eps: float
) -> tuple[Tensor, Tensor]:
    """Fit ``change ≈ gain · guide + offset`` channel by channel.

    Args:
        guide: I, float ``[b c h w]`` in [0, 1].
        change: D, the same shape, signed.
        radius: of the window; it has 2·radius + 1 pixels a side.
        eps: variance of I below which the gain fades to 0, and D is taken as it is.

    Returns:
        Both ``[b c h w]``. Here ``gain · guide + offset`` is ``change`` exactly: only what the
        large picture has beyond the small one is left to the gain (our choice; the original
        smooths the offset too).
    """
    mean = box_mean(guide, radius)
    variance = box_mean(guide * guide, radius) - mean * mean
    covariance = box_mean(guide * change, radius) - mean * box_mean(change, radius)
    gain = box_mean(covariance / (variance.clamp_min(0) + eps), radius)
    return gain, change - gain * guide


def box_mean(x: Tensor, radius: int) -> Tensor:
    """Mean over 2·radius + 1 pixels a side, fewer at the border: ``[b c h w]`` in and out."""
    k = 2 * radius + 1
    x = F.avg_pool2d(x, (1, k), 1, (0, radius), count_include_pad=False)
    return F.avg_pool2d(x, (k, 1), 1, (radius, 0), count_include_pad=False)
