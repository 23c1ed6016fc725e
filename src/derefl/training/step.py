"""The optimiser, one step of it, and the average of the weights."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW, Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn


def make_optimiser(
    module: nn.Module,
    rate: float,
    weight_decay: float,
    *,
    rates: Mapping[str, float] | None = None,
    no_decay: tuple[str, ...] = (),
) -> AdamW:
    """AdamW for the parameters that require gradients. Vectors (norms, biases) do not decay.

    Args:
        module: the trained module.
        rate: the learning rate.
        weight_decay: of matrices.
        rates: other learning rates, by the first part of a parameter's name.
        no_decay: the first parts of the names of matrices that do not decay.
    """
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        lr = next((r for start, r in (rates or {}).items() if name.startswith(start)), rate)
        decays = parameter.ndim > 1 and not name.startswith(no_decay)
        groups.setdefault((lr, weight_decay if decays else 0.0), []).append(parameter)
    return AdamW(
        [{"params": p, "lr": lr, "weight_decay": decay} for (lr, decay), p in groups.items()],
        fused=next(module.parameters()).is_cuda,
    )


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


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, decay: float, step: int) -> None:
    """Update the moving average s of the parameters p after a step: s ← d·s + (1 − d)·p.

    The decay d rises as (1 + step) / (10 + step) up to ``decay``, so the average forgets the
    initial weights quickly.
    """
    update = get_ema_multi_avg_fn(min(decay, (1 + step) / (10 + step)))
    update(list(average.parameters()), list(module.parameters()), step)
