"""One optimiser step, for all training loops."""

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer


def take_step(optimiser: Optimizer, loss: Tensor, factor: float, clip: float = 5.0) -> Tensor:
    """Compute the gradients, clip them, and take a step.

    A step with gradients that are not finite is skipped, so one bad batch does not end a long run.

    Args:
        optimiser: of all trained parameters; ``factor`` applies to the initial ``lr`` of each
            group.
        loss: scalar.
        factor: factor on the learning rate, from the schedule.
        clip: largest norm of all gradients together.

    Returns:
        The gradient norm before clipping, on the loss's device.
    """
    for group in optimiser.param_groups:
        group["lr"] = factor * group.setdefault("initial_lr", group["lr"])
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], clip)
    if torch.isfinite(norm):
        optimiser.step()
    return norm
