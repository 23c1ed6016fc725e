"""Losses of the decomposition. Pictures are float ``[b 3 h w]``; losses are scalars.

"Secondary" marks parts of the paper that we know only from secondary descriptions.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from derefl.reflection.frequency import split_residual
from derefl.reflection.model import Layers
from derefl.training.config import Weight


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms (our choice; we do not know the paper's weights).

    Attributes:
        reconstruction, gradient, low, high, consistency: weights of the paper's terms.
        aligned: share of a real pair's reconstruction loss that is computed after
            :func:`align_colours`, because exposure and white balance of a real pair differ.
        tone: weight of :func:`tone_loss`, only for synthetic pairs, whose tone is exact.
        log_error: weight of :func:`log_error`.
        estimated_targets: compute the targets of R_low and R_high from T̂, as in the paper, instead
            of from the true T.
    """

    reconstruction: Weight = 1.0
    aligned: Weight = 0.5
    tone: Weight = 1.0
    log_error: Weight = 0.03
    gradient: Weight = 0.5
    low: Weight = 1.5
    high: Weight = 0.5
    consistency: Weight = 0.1
    estimated_targets: bool = False


def decomposition_loss(
    layers: Layers,
    image: Tensor,
    transmission: Tensor,
    real: Tensor,
    kernel: int,
    config: LossConfig,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum, and the unweighted terms for the log.

    Args:
        layers: the network's output for ``image``.
        image: I, in [0, 1].
        transmission: the true T.
        real: bool ``[b]``, true for real pairs, false for synthetic pairs.
        kernel: width of the mean filter M.
        config: weights.
    """
    reference = layers.transmission.detach() if config.estimated_targets else transmission
    low, high = split_residual(image, reference, kernel)
    estimate = layers.transmission
    terms = {
        "reconstruction": reconstruction_loss(estimate, transmission, real, config.aligned),
        "tone": tone_loss(estimate[~real], transmission[~real]),
        "log_error": log_error(estimate, transmission),
        "gradient": gradient_loss(estimate, transmission),
        "low": low_loss(layers.residual_low, low),
        "high": high_loss(layers.residual_high, high),
        "consistency": consistency_loss(layers, image),
    }
    total = sum(
        (getattr(config, name) * term for name, term in terms.items()),
        torch.zeros((), device=image.device),
    )
    return total, {name: term.detach() for name, term in terms.items()}


def reconstruction_loss(estimate: Tensor, target: Tensor, real: Tensor, aligned: float) -> Tensor:
    """‖T̂ − T‖₁; for real pairs, the share ``aligned`` is computed after :func:`align_colours`."""
    error = (estimate - target).abs().mean(dim=(1, 2, 3))
    if aligned and real.any():
        fitted = align_colours(estimate[real], target[real])
        share = torch.zeros_like(error)
        share[real] = (fitted - target[real]).abs().mean(dim=(1, 2, 3)) - error[real]
        error = error + aligned * share
    return error.mean()


def align_colours(estimate: Tensor, target: Tensor, ridge: float = 1e-3) -> Tensor:
    """Map each estimate to its target by a least-squares affine colour map.

    Photometric alignment (arXiv 2604.08172): a 3×3 matrix and an offset per picture, in closed
    form from covariances. ``ridge`` keeps the map near the identity for pictures with few colours.
    """
    x, y = estimate.flatten(2), target.flatten(2)
    mean_x, mean_y = x.mean(dim=2, keepdim=True), y.mean(dim=2, keepdim=True)
    x, y = x - mean_x, y - mean_y
    n, identity = x.shape[2], torch.eye(3, device=x.device)
    covariance = x @ x.transpose(1, 2) / n + ridge * identity
    cross = y @ x.transpose(1, 2) / n + ridge * identity
    matrix = torch.linalg.solve(covariance, cross, left=False)
    return (matrix @ x + mean_y).view_as(estimate)


def tone_loss(estimate: Tensor, target: Tensor, side: int = 16) -> Tensor:
    """L1 distance of the means over ``side`` × ``side`` pixels; 0 for an empty batch."""
    if not len(estimate):
        return estimate.sum()
    return F.avg_pool2d(estimate - target, side, ceil_mode=True).abs().mean()


def log_error(estimate: Tensor, target: Tensor) -> Tensor:
    """Mean over pictures of ln(MSE + 10⁻⁴): −PSNR up to scale, flat above 40 dB.

    The gradient is stronger for better pictures, so clean pictures stay clean.
    """
    mse = (estimate - target).square().mean(dim=(1, 2, 3))
    return (mse + 1e-4).log().mean()


def gradient_loss(estimate: Tensor, target: Tensor) -> Tensor:
    """‖∇T̂ − ∇T‖₁, forward differences."""
    dx, dy = differences(estimate - target)
    return dx.abs().mean() + dy.abs().mean()


def low_loss(estimate: Tensor, target: Tensor) -> Tensor:
    """L_low: ‖R̂_low − (M(I) − M(T))‖² + ‖∇R̂_low − ∇(M(I) − M(T))‖² (secondary)."""
    error = estimate - target
    dx, dy = differences(error)
    return error.square().mean() + dx.square().mean() + dy.square().mean()


def high_loss(estimate: Tensor, target: Tensor) -> Tensor:
    """L_high: ‖R̂_high − (I − T − (M(I) − M(T)))‖₁ (secondary)."""
    return F.l1_loss(estimate, target)


def consistency_loss(layers: Layers, image: Tensor) -> Tensor:
    """‖I − (T̂ + R̂_low + R̂_high)‖₁: the three layers sum to the picture."""
    return F.l1_loss(layers.transmission + layers.residual_low + layers.residual_high, image)


def differences(x: Tensor) -> tuple[Tensor, Tensor]:
    """Forward differences along w and h."""
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]
