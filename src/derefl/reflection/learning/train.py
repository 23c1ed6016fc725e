"""Training a :class:`DeRefl`: ``derefl train reflection``."""

import itertools
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from derefl.files import check_output
from derefl.reflection.learning.losses import LossConfig, decomposition_loss
from derefl.reflection.learning.pairs import Pairs, PairsConfig, batches
from derefl.reflection.learning.synthesis import SynthesisConfig
from derefl.reflection.learning.validate import validate
from derefl.reflection.model import DeRefl, DeReflConfig, Layers
from derefl.training.ema import EMA
from derefl.training.imagenet import load_imagenet_weights
from derefl.training.log import JsonLog, Meter
from derefl.training.memory import keep_freed_memory
from derefl.training.precision import autocast_dtype
from derefl.training.schedule import cosine_with_warmup
from derefl.training.state import Progress, load_state, save_state, start_from
from derefl.zoo.checkpoint import save_checkpoint


@dataclass(frozen=True)
class RunConfig:
    """The run itself; everything here is our choice.

    Attributes:
        steps: length of the run …
        minutes: … which ends, and lowers its learning rate, after this time if that is sooner; 0
            for no such end. For a machine that is lent by the minute.
        batch, size: pairs a step and their side in pixels …
        late_from, late_batch, late_size: … and from this fraction of the run on. 256 divides into
            windows of 8 tokens at every stride; 288 does not, and its padding costs a third more.
        learning_rate, backbone_rate, weight_decay, warmup: AdamW and its schedule.
        clip: largest gradient norm.
        ema: decay of the averaged weights, which are what is validated and shipped.
        seed: of the initial weights and of every pair.
        validate_every: steps.
        save_every: seconds between resumable states.
        workers: processes that make pairs while an accelerator trains; on a CPU there are none.
        keep_memory: see :func:`~derefl.training.memory.keep_freed_memory`.
    """

    steps: int = 20_000
    minutes: float = 0.0
    batch: int = 8
    size: int = 192
    late_from: float = 0.75
    late_batch: int = 5
    late_size: int = 256
    learning_rate: float = 5e-4
    backbone_rate: float = 1.5e-4
    weight_decay: float = 1e-4
    warmup: int = 200
    clip: float = 1.0
    ema: float = 0.998
    seed: int = 0
    validate_every: int = 500
    save_every: float = 180.0
    workers: int = 12
    keep_memory: bool = True


@dataclass(frozen=True)
class TrainConfig:
    """One TOML file: a table for each part."""

    model: DeReflConfig = field(default_factory=DeReflConfig)
    pairs: PairsConfig = field(default_factory=PairsConfig)
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    run: RunConfig = field(default_factory=RunConfig)


def train(
    config: TrainConfig, out: Path, device: torch.device, start: DeRefl | None = None
) -> DeRefl:
    """Train, or go on with the run that ``out`` holds.

    Args:
        config: all settings.
        out: folder for ``state.safetensors``, ``log.jsonl``, ``validation-*.png`` and
            ``model.safetensors``, the averaged model.
        device: where to train.
        start: weights to start from instead of ImageNet's; ignored when resuming.

    Returns:
        The averaged model, in evaluation mode.

    Raises:
        DataError: a data folder is missing or wrong.
        ConfigError: ``start`` is of another architecture.
        CheckpointError: ``out`` holds the state of another architecture.
        OutputError: ``out`` cannot be written to.
    """
    check_output(out / "state.safetensors", overwrite=True)
    run = config.run
    if run.keep_memory and device.type == "cpu":
        keep_freed_memory()
    torch.manual_seed(run.seed)
    pairs = Pairs(config.pairs, config.synthesis, run.seed)
    model = DeRefl(config.model)
    if start is None:
        name = config.model.backbone
        load_imagenet_weights(model.backbone.features, name, features_only=True)
    else:
        start_from(model, start)
    model.to(device).to(memory_format=torch.channels_last).train()
    ema = EMA(model, run.ema)
    optimiser = make_optimiser(model, run)
    state, progress = out / "state.safetensors", Progress()
    if state.exists():
        progress = load_state(state, model, ema, optimiser)
    log = JsonLog(out / "log.jsonl")
    log.write(event="start", step=progress.step, device=str(device), config=asdict(config))

    if run.minutes and progress.seconds >= 60 * run.minutes:
        return ema.model
    started = saved = time.monotonic()
    workers = 0 if device.type == "cpu" else min(run.workers, os.cpu_count() or 1)
    meter = Meter()
    with tqdm(total=run.steps, initial=progress.step, unit="step", smoothing=0.05) as bar:
        steps = enumerate(batches(pairs, plan(run, progress.step), workers), progress.step)
        for step, batch in steps:
            image, truth = (x.to(device, non_blocking=True) for x in batch)
            seconds = progress.seconds + time.monotonic() - started
            spent = min(1.0, seconds / (60 * run.minutes)) if run.minutes else 0.0
            terms = take_step(model, optimiser, image, truth, step, config, spent)
            ema.update(model, step)
            meter.add(len(image), **terms)
            done = step + 1
            last = done == run.steps or spent == 1.0
            bar.update()
            if done % 50 == 0:
                means = meter.take()
                log.write(event="train", step=done, **means)
                bar.set_postfix(loss=f"{means['loss']:.4f}", refresh=False)
            if done % run.validate_every == 0 or last:
                scores = validate(ema.model, pairs, out / f"validation-{done:06d}.png")
                log.write(event="validation", step=done, **scores)
                save_checkpoint(
                    ema.model, out / "model.safetensors", kind="derefl", config=asdict(config.model)
                )
                bar.write(f"step {done}: " + json.dumps(scores))
            if time.monotonic() - saved > run.save_every or last:
                saved = time.monotonic()
                save_state(state, model, ema, optimiser, Progress(done, seconds))
            if last:
                break
    return ema.model


def take_step(
    model: DeRefl,
    optimiser: torch.optim.AdamW,
    image: Tensor,
    truth: Tensor,
    step: int,
    config: TrainConfig,
    spent: float = 0.0,
) -> dict[str, Tensor]:
    """One step of the optimiser, ``spent`` being the share of ``run.minutes`` that has passed.

    Returns loss, gradient norm and the loss terms for the log, all on the device.
    """
    run = config.run
    for group in optimiser.param_groups:
        factor = cosine_with_warmup(step, run.steps, run.warmup, spent=spent)
        group["lr"] = group["rate"] * factor
    dtype = autocast_dtype(image.device)
    with torch.autocast(image.device.type, dtype, enabled=dtype is not None):
        layers = model(image.contiguous(memory_format=torch.channels_last))
    layers = Layers(*(layer.float() for layer in layers))
    loss, terms = decomposition_loss(layers, image, truth, config.model.mean_kernel, config.loss)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = clip_grad_norm_(model.parameters(), run.clip)
    if torch.isfinite(norm):  # one broken batch must not end a night's run
        optimiser.step()
    return {"loss": loss.detach(), "norm": norm, **terms}


def plan(run: RunConfig, first: int) -> Iterator[tuple[int, int, int]]:
    """``(step, pairs, side in pixels)`` for the rest of a run."""
    for step in itertools.count(first):
        if step >= run.steps:
            return
        late = step >= run.late_from * run.steps
        yield step, *((run.late_batch, run.late_size) if late else (run.batch, run.size))


def make_optimiser(model: DeRefl, run: RunConfig) -> torch.optim.AdamW:
    """AdamW; the backbone learns more slowly, and vectors (norms, biases, scales) do not decay."""
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        key = name.startswith("backbone."), parameter.ndim > 1
        groups.setdefault(key, []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "rate": run.backbone_rate if in_backbone else run.learning_rate,
                "weight_decay": run.weight_decay if decays else 0.0,
            }
            for (in_backbone, decays), parameters in groups.items()
        ],
        fused=next(model.parameters()).is_cuda,
    )
