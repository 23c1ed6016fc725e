"""The training loop and its parts, with a model of two weights."""

import json
import math
from dataclasses import replace

import pytest
import torch

from derefl.errors import CheckpointError
from derefl.training.loop import LoopConfig, run_loop
from derefl.training.schedule import cosine_with_warmup
from derefl.training.step import make_optimiser, take_step, update_average

RUN = LoopConfig(
    steps=6, batch=4, learning_rate=0.1, weight_decay=0.0, warmup=2, ema=0.9, minutes=0.0
)


def fit(out, run=RUN, scores=None, factor=lambda step: 1.0, width=2, **options):
    """Train a model on batches that depend on the step, and on dropout.

    Returns the averaged model, and the steps after which the model was saved.
    """
    torch.manual_seed(run.seed)
    model = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(width, 1))
    saved, checked = [], []

    def batches(first):
        for step in range(first, run.steps):
            yield torch.randn(4, width, generator=torch.Generator().manual_seed(step)), step

    def loss(batch):
        x, step = batch
        return factor(step) * (model(x) - x[:, :1]).square().mean(), {"step": float(step)}

    def validate(average, step):
        assert not average.training
        checked.append(step)
        return scores[step - 1], {"score": scores[step - 1]}

    average = run_loop(
        model,
        make_optimiser(model, run.learning_rate, run.weight_decay),
        run,
        out,
        config=run,
        batches=batches,
        loss=loss,
        save=lambda average: saved.append(checked[-1] if checked else None),
        validate=validate if scores else None,
        **{"every": 2, **options},
    )
    return average, saved


def stopped(step):
    """Ctrl-C in step 3."""
    if step == 3:
        raise KeyboardInterrupt
    return 1.0


def events(out):
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [(record["event"], record["step"]) for record in records]


def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one(tmp_path):
    whole, saved = fit(tmp_path / "whole")
    assert len(saved) == 3  # without a validation, each state has its model

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "parts", factor=stopped)
    resumed, _ = fit(tmp_path / "parts")
    assert events(tmp_path / "parts") == [("start", 0), ("start", 2)]
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)
    again, saved = fit(tmp_path / "parts")  # nothing is left to do
    assert torch.equal(again[1].weight, resumed[1].weight) and not saved


def test_the_best_validation_is_kept_also_when_resumed(tmp_path):
    scores = [1.0, 2.0, 0.5, 1.5, 3.0, 2.5]
    _, saved = fit(tmp_path, replace(RUN, steps=3), scores, every=1)
    assert saved == [1, 2]
    _, saved = fit(tmp_path, RUN, scores, every=1)
    assert saved == [5]
    assert ("validation", 6) in events(tmp_path)


def test_a_run_ends_with_its_time_and_does_not_continue(tmp_path):
    run = replace(RUN, minutes=1e-9)
    for _ in range(2):
        fit(tmp_path, run, [1.0])
    assert events(tmp_path) == [("start", 0), ("validation", 1), ("start", 1)]


def test_states_are_also_saved_after_some_seconds(tmp_path):
    for seconds, first in ((math.inf, 0), (0.0, 3)):
        out = tmp_path / str(seconds)
        with pytest.raises(KeyboardInterrupt):
            fit(out, factor=stopped, every=100, save_seconds=seconds)
        fit(out, every=100)
        assert events(out)[-1] == ("start", first)


def test_a_batch_without_finite_gradients_changes_no_weights(tmp_path):
    average, _ = fit(tmp_path, factor=lambda step: math.nan if step == 2 else 1.0)
    assert all(value.isfinite().all() for value in average.state_dict().values())


def test_a_state_of_another_model_is_refused(tmp_path):
    fit(tmp_path)
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        fit(tmp_path, width=3)


def test_a_step_clips_and_its_factor_multiplies_the_first_rates():
    weights = [torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(1))]
    groups = [{"params": weights[:1], "lr": 0.1}, {"params": weights[1:]}]
    optimiser = torch.optim.SGD(groups, lr=0.01)
    for factor in (1.0, 0.5):
        before = [w.detach().clone() for w in weights]
        norm = take_step(optimiser, sum(3 * w.sum() for w in weights), factor, clip=1.0)
        assert float(norm) == pytest.approx(27**0.5)
        for rate, old, new in zip((0.1, 0.01), before, weights, strict=True):
            expected = old - factor * rate * 3 / 27**0.5
            torch.testing.assert_close(new.detach(), expected, atol=1e-5, rtol=0)
    for broken in (math.nan, math.inf, -math.inf):
        before = [w.detach().clone() for w in weights]
        norm = take_step(optimiser, broken * weights[0].sum() + weights[1].sum(), 1.0)
        assert not norm.isfinite() and all(map(torch.equal, before, weights))


def test_the_groups_of_an_optimiser():
    module = torch.nn.ModuleDict(
        {name: torch.nn.Linear(2, 1) for name in ("tower", "words", "head", "frozen")}
    )
    module["frozen"].requires_grad_(False)
    optimiser = make_optimiser(module, 1.0, 0.1, rates={"tower.": 0.5}, no_decay=("words.",))
    found = {
        name: (group["lr"], group["weight_decay"])
        for name, p in module.named_parameters()
        for group in optimiser.param_groups
        if any(p is other for other in group["params"])
    }
    assert found == {
        **{"tower.weight": (0.5, 0.1), "tower.bias": (0.5, 0.0)},
        **{"words.weight": (1.0, 0.0), "words.bias": (1.0, 0.0)},
        **{"head.weight": (1.0, 0.1), "head.bias": (1.0, 0.0)},
    }


def test_the_average_follows_its_formula():
    average, model = (torch.nn.Linear(1, 1, bias=False) for _ in range(2))
    torch.nn.init.zeros_(average.weight)
    torch.nn.init.ones_(model.weight)
    update_average(average, model, 0.5, step=0)  # early decay 1/10
    assert average.weight.item() == pytest.approx(0.9)
    update_average(average, model, 0.5, step=1000)
    assert average.weight.item() == pytest.approx(0.95)


def test_schedule_rises_and_falls():
    rates = [cosine_with_warmup(step, 100, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[9] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True) and rates[-1] < 0.03
    half = cosine_with_warmup(12, 100, 10, spent=0.5)  # half of the time, but few steps
    assert half == pytest.approx(0.51)
    assert cosine_with_warmup(55, 100, 10, spent=0.1) == rates[55]
    assert cosine_with_warmup(5, 100, 10, spent=0.5) == rates[5]
