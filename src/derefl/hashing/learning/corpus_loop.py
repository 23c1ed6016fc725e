"""Training on a corpus, for teacher, student and hash heads."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from derefl.files import check_output
from derefl.hashing.learning.corpus import Corpus, CorpusConfig, read_corpus
from derefl.training.config import Count, Rate, Share, Weight, Whole
from derefl.training.loop import LoopConfig, run_loop
from derefl.zoo.checkpoint import save_checkpoint

Module = TypeVar("Module", bound=nn.Module)
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class CorpusRunConfig(LoopConfig):
    """Settings of the run, with those of :class:`~derefl.training.loop.LoopConfig`.

    Attributes:
        views: number of views of each picture, see
            :func:`~derefl.hashing.learning.features.views`.
        save_every: steps between resumable states.
    """

    steps: Count = 1500
    batch: Count = 512
    learning_rate: Rate = 2e-3
    weight_decay: Weight = 0.05
    warmup: Whole = 50
    ema: Share = 0.99
    views: Count = 5
    save_every: Count = 300


@dataclass(frozen=True)
class CorpusTrainConfig:
    """The tables that the TOML files of all runs have."""

    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    run: CorpusRunConfig = field(default_factory=CorpusRunConfig)


class StepPairs(NamedTuple):
    """The pairs of a step: rows of the corpus and the view of each picture, ``[n]``.

    ``positives`` is float ``[n n]``, 1 where picture and text belong together; ``rng`` is for other
    random numbers of the step.
    """

    pictures: np.ndarray
    texts: np.ndarray
    view: np.ndarray
    positives: Tensor
    step: int
    rng: np.random.Generator


def begin(config: CorpusTrainConfig, out: Path) -> Corpus:
    """Check that ``out`` can be written, set the seed of the weights, and read the corpus."""
    check_output(out / "state.safetensors", overwrite=True)
    torch.manual_seed(config.run.seed)
    return read_corpus(config.corpus)


def run_on_corpus(
    module: Module,
    optimiser: AdamW,
    config: CorpusTrainConfig,
    corpus: Corpus,
    out: Path,
    *,
    loss: Callable[[StepPairs], tuple[Tensor, dict[str, float]]],
    model: Callable[[Module], Model],
    kind: str,
    among: Callable[[int], np.ndarray | None] = lambda step: None,
) -> Model:
    """Run :func:`~derefl.training.loop.run_loop` on batches of a corpus.

    Args:
        model: returns the model in the averaged module.
        kind: of the model, for its file.
        among: returns the pictures that a step may use, bool ``[pictures]``; None: all.

    Returns:
        The averaged model, in evaluation mode.
    """
    run, share = config.run, config.corpus.caption_share
    device = next(module.parameters()).device

    def batches(first: int) -> Iterator[StepPairs]:
        for step in range(first, run.steps):
            rng = np.random.default_rng([run.seed, step])
            pictures, texts = corpus.batch(run.batch, share, rng, among(step))
            view = rng.integers(run.views, size=len(pictures))
            groups = torch.from_numpy(corpus.groups[pictures]).to(device)
            yield StepPairs(pictures, texts, view, (groups[:, None] == groups).float(), step, rng)

    def save(average: Module) -> None:
        learned: Any = model(average)
        path = out / "model.safetensors"
        save_checkpoint(learned, path, kind=kind, config=asdict(learned.config))

    average = run_loop(
        module,
        optimiser,
        run,
        out,
        config=config,
        batches=batches,
        loss=loss,
        save=save,
        every=run.save_every,
    )
    return model(average)
