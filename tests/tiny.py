"""A small reflection model with seeded weights."""

import copy
from functools import cache

import torch

from derefl.reflection.model import DeRefl, DeReflConfig
from derefl.reflection.remover import ReflectionRemover

TINY = DeReflConfig(
    backbone="test_efficientnet",  # timm's smallest
    dims=(8, 8, 8, 16, 16),
    depths=(1, 1, 2, 1, 1),
    head_dim=8,
)


def tiny_remover() -> ReflectionRemover:
    """Its heads are far enough from zero to have an effect."""
    torch.manual_seed(0)  # later random draws of a test do not depend on the order of tests
    return copy.deepcopy(first_remover())


@cache
def first_remover() -> ReflectionRemover:
    """The remover that :func:`tiny_remover` copies: building takes longer than most tests."""
    torch.manual_seed(0)
    network = DeRefl(TINY).eval()
    for name, parameter in network.named_parameters():
        if ".project.weight" in name or ".to_high.weight" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return ReflectionRemover(network)
