"""The guided filter (He, Sun and Tang): transfers a change from a small picture to a large picture.

In a small window, the change D is modelled as linear in the picture I: D ≈ gain·I + offset. Gain
and offset vary slowly, so they can be enlarged. The large picture I gives D its edges.
"""

import torch.nn.functional as F
from torch import Tensor


def gain_and_offset(
    guide: Tensor, change: Tensor, *, radius: int, eps: float
) -> tuple[Tensor, Tensor]:
    """Fit ``change ≈ gain · guide + offset`` channel by channel.

    Args:
        guide: I, float ``[b c h w]`` in [0, 1].
        change: D, the same shape, signed.
        radius: radius of the window, whose side is 2·radius + 1 pixels.
        eps: variance of I below which the gain falls to 0; D then does not depend on I.

    Returns:
        Gain and offset, each ``[b c h w]``. Here ``gain · guide + offset`` is exactly ``change``;
        the gain affects only details that the small picture lacks (our choice; the original also
        smooths the offset).
    """
    mean = box_mean(guide, radius)
    variance = box_mean(guide * guide, radius) - mean * mean
    covariance = box_mean(guide * change, radius) - mean * box_mean(change, radius)
    gain = box_mean(covariance / (variance.clamp_min(0) + eps), radius)
    return gain, change - gain * guide


def box_mean(x: Tensor, radius: int) -> Tensor:
    """Mean over windows with side 2·radius + 1, cropped at the border: ``[b c h w]`` in and out."""
    k = 2 * radius + 1
    x = F.avg_pool2d(x, (1, k), 1, (0, radius), count_include_pad=False)
    return F.avg_pool2d(x, (k, 1), 1, (radius, 0), count_include_pad=False)
