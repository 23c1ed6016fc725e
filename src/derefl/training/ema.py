"""Exponential moving average of weights."""

import copy

import torch
from torch import nn


class EMA:
    """A shadow copy of a model that follows its parameters: s ← d·s + (1 − d)·p.

    d rises as (1 + step) / (10 + step) up to ``decay``, so that early averages forget the start.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        shadow, current = list(self.model.parameters()), list(model.parameters())
        torch._foreach_lerp_(shadow, current, 1 - decay)
