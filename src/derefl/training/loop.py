"""The training loop: resume, average of the weights, validation, time limit, log and states."""

import copy
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.optim import AdamW
from tqdm import tqdm

from derefl.training.config import Count, Rate, Share, Weight, Whole
from derefl.training.log import JsonLog, Meter
from derefl.training.schedule import cosine_with_warmup
from derefl.training.state import Progress, load_state, save_state
from derefl.training.step import take_step, update_average

Module = TypeVar("Module", bound=nn.Module)
Batch = TypeVar("Batch", bound=tuple[Any, ...])
LOG_EVERY = 50


@dataclass(frozen=True)
class LoopConfig:
    """Settings of every training run.

    Attributes:
        steps: number of steps.
        batch: pairs per step.
        learning_rate, weight_decay, warmup: settings of AdamW and its schedule.
        ema: decay of the averaged weights, which are validated and saved as the model.
        minutes: time limit of the run; the learning-rate schedule follows it. 0 means no limit.
        clip: largest gradient norm.
        seed: seed of the initial weights and of all batches.
    """

    steps: Count
    batch: Count
    learning_rate: Rate
    weight_decay: Weight
    warmup: Whole
    ema: Share
    minutes: Weight = 0.0
    clip: Rate = 5.0
    seed: Whole = 0


def run_loop(
    module: Module,
    optimiser: AdamW,
    run: LoopConfig,
    out: Path,
    *,
    config: Any,
    batches: Callable[[int], Iterable[Batch]],
    loss: Callable[[Batch], tuple[Tensor, Mapping[str, float | Tensor]]],
    save: Callable[[Module], None],
    every: int,
    save_seconds: float = math.inf,
    validate: Callable[[Module, int], tuple[float, dict[str, Any]]] | None = None,
) -> Module:
    """Train ``module``, or resume the run in ``out``.

    Args:
        module: the trained module.
        optimiser: of the module's parameters.
        run: settings.
        out: folder for ``state.safetensors`` and ``log.jsonl``.
        config: dataclass of all settings, for the log.
        batches: yields the batches from the step with this number to the end. A batch is a tuple;
            the length of its first item is the number of pairs, for the log.
        loss: returns the loss of a batch, and terms for the log.
        save: saves the averaged module as the model; called after the best validation so far.
        every: steps between validations. After each validation the state is saved.
        save_seconds: seconds between states, if validations are further apart.
        validate: returns the score of the averaged module after a number of steps, and a record for
            the log; without it, each model counts as the best.

    Returns:
        The averaged module, in evaluation mode.

    Raises:
        CheckpointError: the state in ``out`` has another architecture.
    """
    module.train()
    average = copy.deepcopy(module).eval().requires_grad_(False)
    state, progress = out / "state.safetensors", Progress()
    if state.exists():
        progress = load_state(state, module, average, optimiser)
    log, meter = JsonLog(out / "log.jsonl"), Meter()
    device = str(next(module.parameters()).device)
    log.write(event="start", step=progress.step, device=device, config=asdict(config))

    limit, best = 60 * run.minutes or math.inf, progress.best
    if progress.seconds >= limit:
        return average
    saved = time.monotonic()
    started = saved - progress.seconds
    with tqdm(total=run.steps, initial=progress.step, unit="step", smoothing=0.05) as bar:
        for step, batch in enumerate(batches(progress.step), progress.step):
            seconds = time.monotonic() - started
            spent = min(1.0, seconds / limit)
            total, terms = loss(batch)
            factor = cosine_with_warmup(step, run.steps, run.warmup, spent=spent)
            norm = take_step(optimiser, total, factor, run.clip)
            update_average(average, module, run.ema, step)
            meter.add(len(batch[0]), loss=total.detach(), norm=norm, **terms)
            done = step + 1
            bar.update()
            if done % LOG_EVERY == 0:
                means = meter.take()
                log.write(event="train", step=done, **means)
                bar.set_postfix(loss=f"{means['loss']:.4f}", refresh=False)
            last = done == run.steps or spent == 1.0
            check = done % every == 0 or last
            if check:
                score = best
                if validate:
                    score, record = validate(average, done)
                    log.write(event="validation", step=done, **record)
                if score >= best:
                    best = score
                    save(average)
            if check or time.monotonic() - saved > save_seconds:
                saved = time.monotonic()
                save_state(state, module, average, optimiser, Progress(done, seconds, best))
            if last:
                break
    return average
