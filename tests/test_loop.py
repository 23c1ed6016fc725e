"""One step of an optimiser."""

import math

import pytest
import torch

from derefl.training.step import take_step


@pytest.fixture
def weights():
    return [torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(1))]


@pytest.fixture
def optimiser(weights):
    groups = [{"params": weights[:1], "lr": 0.1}, {"params": weights[1:]}]
    return torch.optim.SGD(groups, lr=0.01)


def test_rates_and_clipping(weights, optimiser):
    for factor in (1.0, 0.5):  # multiplies the first rates, not the last
        before = [w.detach().clone() for w in weights]
        norm = take_step(optimiser, sum(3 * w.sum() for w in weights), factor, clip=1.0)
        assert float(norm) == pytest.approx(27**0.5)
        for rate, old, new in zip((0.1, 0.01), before, weights, strict=True):
            expected = old - factor * rate * 3 / 27**0.5
            torch.testing.assert_close(new.detach(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_gradients_that_are_not_finite_change_nothing(weights, optimiser, broken):
    norm = take_step(optimiser, broken * weights[0].sum() + weights[1].sum(), 1.0)
    assert not norm.isfinite()
    assert all(torch.equal(w, torch.ones_like(w)) for w in weights)
    take_step(optimiser, weights[0].sum(), 1.0)  # the next step starts without gradients
    assert weights[0].isfinite().all() and (weights[0] < 1).all()
