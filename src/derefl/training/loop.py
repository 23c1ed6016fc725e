"""A training loop with resume, weight averaging, a log and checkpoints."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import nn
from torch.optim import AdamW
from tqdm import tqdm

from derefl.training.ema import EMA
from derefl.training.log import JsonLog, Meter
from derefl.training.state import Progress, load_state, save_state

Module = TypeVar("Module", bound=nn.Module)
LOG_EVERY = 50


@dataclass(frozen=True)
class Loop:
    """Settings of a training loop.

    Attributes:
        out: folder for ``state.safetensors`` and ``log.jsonl``.
        steps: number of steps.
        batch: pictures per step, for the log.
        ema: decay of the averaged weights.
        save_every: steps between resumable states.
    """

    out: Path
    steps: int
    batch: int
    ema: float
    save_every: int


def run_loop(
    loop: Loop,
    module: Module,
    optimiser: AdamW,
    step: Callable[[int], dict[str, float]],
    save: Callable[[Module], None],
    config: Any,
) -> Module:
    """Run the remaining steps.

    Args:
        loop: settings.
        module: the trained module, in training mode.
        optimiser: of the module's parameters.
        step: runs the step with this number and returns the losses by name.
        save: called with the averaged module whenever a state is saved.
        config: dataclass of all settings, for the log.

    Returns:
        The averaged module, in evaluation mode.

    Raises:
        CheckpointError: the state in ``out`` has another architecture.
    """
    average = EMA(module, loop.ema)
    state, progress = loop.out / "state.safetensors", Progress()
    if state.exists():
        progress = load_state(state, module, average, optimiser)
    log, meter = JsonLog(loop.out / "log.jsonl"), Meter()
    log.write(event="start", step=progress.step, config=asdict(config))
    left = range(progress.step, loop.steps)
    for number in tqdm(left, initial=progress.step, total=loop.steps, unit="step"):
        terms = step(number)
        average.update(module, number)
        meter.add(loop.batch, **terms)
        done = number + 1
        if done % LOG_EVERY == 0:
            log.write(event="train", step=done, **meter.take())
        if done % loop.save_every == 0 or done == loop.steps:
            save_state(state, module, average, optimiser, Progress(done))
            save(average.model)
    return average.model
