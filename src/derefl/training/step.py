"""One step of an optimiser, for every training loop."""

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer


def take_step(optimiser: Optimizer, loss: Tensor, factor: float, clip: float = 5.0) -> Tensor:
    """Compute the gradients of a loss, clip them, and step.

    A step whose gradients are not finite is skipped: one broken batch must not end a long run.

    Args:
        optimiser: its groups hold all trained parameters. A group's highest learning rate is the
            ``lr`` that the optimiser was made with.
        loss: scalar.
        factor: on the learning rate of each group, from the schedule.
        clip: largest norm of all gradients together.

    Returns:
        The norm before clipping, on the loss's device.
    """
    for group in optimiser.param_groups:
        group["lr"] = factor * group.setdefault("initial_lr", group["lr"])
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], clip)
    if torch.isfinite(norm):
        optimiser.step()
    return norm
