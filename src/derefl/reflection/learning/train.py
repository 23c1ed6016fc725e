"""Train a :class:`DeRefl`: ``derefl train reflection``."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from derefl.allocator import keep_freed_memory
from derefl.errors import ConfigError
from derefl.files import check_output
from derefl.reflection.learning.losses import LossConfig, decomposition_loss
from derefl.reflection.learning.pairs import Batch, Pairs, PairsConfig, batches, held_back_photos
from derefl.reflection.learning.synthesis import SynthesisConfig
from derefl.reflection.learning.validate import (
    choice,
    format_table,
    has_pairs,
    measured,
    samples,
    scores,
    sheet,
)
from derefl.reflection.model import DeRefl, DeReflConfig, Layers
from derefl.reflection.remover import ReflectionRemover
from derefl.training.config import Count, Rate, Share, Weight, Whole
from derefl.training.imagenet import load_imagenet_weights
from derefl.training.loop import LoopConfig, run_loop
from derefl.training.precision import autocast
from derefl.training.state import start_from
from derefl.training.step import make_optimiser
from derefl.zoo.checkpoint import save_checkpoint


@dataclass(frozen=True)
class RunConfig(LoopConfig):
    """Settings of a training run, with those of :class:`~derefl.training.loop.LoopConfig`.

    Attributes:
        size: side of the pairs in pixels.
        late_from, late_batch, late_size: after the fraction ``late_from`` of the run, the batch and
            size to use. Multiples of 256 fill the attention windows at all strides.
        backbone_rate: learning rate of the backbone; 0 freezes it.
        validation: validation sets, each ``NAME=DIR``: a folder of pairs, or of photographs
            without a reflection.
        validate_every: steps between validations.
        choose_by: validation sets whose mean gain in dB chooses the checkpoint. Without any of
            these sets, all pairs of ``validation`` count, and without pairs the kind ``screen``.
        clean_floor: PSNR in dB for clean photographs. If the PSNR is lower, the difference is
            subtracted from the checkpoint's score.
        save_every: seconds between resumable states.
        workers: processes that make pairs for an accelerator; unused on the CPU.
    """

    steps: Count = 20_000
    batch: Count = 8
    size: Count = 192
    late_from: Share = 0.75
    late_batch: Count = 5
    late_size: Count = 256
    learning_rate: Rate = 5e-4
    backbone_rate: Weight = 1.5e-4
    weight_decay: Weight = 1e-4
    warmup: Whole = 200
    clip: Rate = 1.0
    ema: Share = 0.998
    validation: tuple[str, ...] = ()
    validate_every: Count = 500
    choose_by: tuple[str, ...] = ("rsir2_val", "real_val")
    clean_floor: Weight = 40.0
    save_every: Weight = 180.0
    workers: Whole = 12


@dataclass(frozen=True)
class TrainConfig:
    """All settings of one TOML file, with a table for each part."""

    model: DeReflConfig = field(default_factory=DeReflConfig)
    pairs: PairsConfig = field(default_factory=PairsConfig)
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    run: RunConfig = field(default_factory=RunConfig)


def train(
    config: TrainConfig, out: Path, device: torch.device, start: torch.nn.Module | None = None
) -> DeRefl:
    """Train a model, or resume the run in ``out``.

    Args:
        config: all settings.
        out: folder for ``state.safetensors``, ``log.jsonl``, ``validation-*.png`` and
            ``model.safetensors``, the averaged model with the best validation.
        device: device for the training.
        start: initial weights instead of ImageNet weights; ignored when a run is resumed.

    Returns:
        The averaged model, in evaluation mode.

    Raises:
        DataError: a data folder is missing or invalid.
        ConfigError: ``start`` has another architecture, or there is nothing to validate.
        CheckpointError: the state in ``out`` has another architecture.
        OutputError: ``out`` cannot be written.
    """
    check_output(out / "state.safetensors", overwrite=True)
    run = config.run
    if device.type == "cpu":
        keep_freed_memory()
    torch.manual_seed(run.seed)
    pairs = Pairs(config.pairs, config.synthesis, run.seed)
    model = DeRefl(config.model)
    if start is None:
        name = config.model.backbone
        load_imagenet_weights(model.backbone.features, name, features_only=True)
    else:
        start_from(model, start)
    model.backbone.requires_grad_(run.backbone_rate > 0)
    model.to(device).to(memory_format=torch.channels_last)
    folders = validation_folders(run)
    photos = held_back_photos(config.pairs.photos, config.pairs.hold_back)
    kinds = deciding_kinds(run, folders)
    if kinds == ["screen"] and len(photos) < 2:
        raise ConfigError(
            f"no pairs to validate on: give --val NAME=DIR, or hold back two photos or more with "
            f"pairs.hold_back (now {config.pairs.hold_back})"
        )
    optimiser = make_optimiser(
        model, run.learning_rate, run.weight_decay, rates={"backbone.": run.backbone_rate}
    )
    workers = 0 if device.type == "cpu" else min(run.workers, os.cpu_count() or 1)

    def on_device(first: int) -> Iterator[Batch]:
        for batch in batches(pairs, plan(run, first), workers):
            yield Batch(*(x.to(device, non_blocking=True) for x in batch))

    def validate(average: DeRefl, step: int) -> tuple[float, dict[str, Any]]:
        pictures = samples(folders, photos)
        table = scores(measured(ReflectionRemover(average).transmission, pictures))
        number = choice(table, kinds, run.clean_floor)
        for line in (f"step {step}, choice {number:.3f}", *format_table(table)):
            tqdm.write(line)
        sheet(average, samples(folders, photos), out / f"validation-{step:06d}.png")
        return number, {"choice": round(number, 3), "kinds": table}

    def save(average: DeRefl) -> None:
        path = out / "model.safetensors"
        save_checkpoint(average, path, kind="derefl", config=asdict(config.model))

    return run_loop(
        model,
        optimiser,
        run,
        out,
        config=config,
        batches=on_device,
        loss=lambda batch: batch_loss(model, batch, config),
        save=save,
        every=run.validate_every,
        save_seconds=run.save_every,
        validate=validate,
    )


def validation_folders(run: RunConfig) -> dict[str, Path]:
    """The validation sets by name.

    Raises:
        ConfigError: a set is not ``NAME=DIR``.
        DataError: a folder is missing or has no pictures.
    """
    folders = {}
    for item in run.validation:
        name, equals, folder = item.partition("=")
        if not (name and equals and folder):
            raise ConfigError(f"got --val {item!r}, expected NAME=DIR, as in rsir2_val=pairs/val")
        folders[name] = Path(folder)
        next(samples({name: folders[name]}))
    return folders


def deciding_kinds(run: RunConfig, folders: Mapping[str, Path]) -> list[str]:
    """The kinds of pictures that choose the checkpoint, see ``RunConfig.choose_by``."""
    pairs = [name for name, folder in folders.items() if has_pairs(folder)]
    return [name for name in run.choose_by if name in folders] or pairs or ["screen"]


def batch_loss(
    model: DeRefl, batch: Batch, config: TrainConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, and its terms for the log, all on the device."""
    image = batch.image
    with autocast(image.device):
        layers = model(image.contiguous(memory_format=torch.channels_last))
    layers = Layers(*(layer.float() for layer in layers))
    kernel = config.model.mean_kernel
    return decomposition_loss(layers, image, batch.truth, batch.real, kernel, config.loss)


def plan(run: RunConfig, first: int) -> Iterator[tuple[int, int, int]]:
    """``(step, pairs, side in pixels)`` for the rest of a run."""
    for step in range(first, run.steps):
        late = step >= run.late_from * run.steps
        yield step, *((run.late_batch, run.late_size) if late else (run.batch, run.size))
