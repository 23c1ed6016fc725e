"""The training loop on pairs of a corpus: teacher, student and hash heads."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from torch import Tensor, nn
from torch.optim import AdamW

from derefl.hashing.learning.corpus import Corpus, CorpusConfig
from derefl.training.config import Count, Rate, Share, Weight, Whole
from derefl.training.loop import LoopConfig, run_loop
from derefl.zoo.checkpoint import save_checkpoint

Module = TypeVar("Module", bound=nn.Module)
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class CorpusRunConfig(LoopConfig):
    """Settings of a training run, with those of :class:`~derefl.training.loop.LoopConfig`.

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


class CorpusTrainConfig(Protocol):
    """The tables that the TOML files of all runs have."""

    @property
    def corpus(self) -> CorpusConfig: ...
    @property
    def run(self) -> CorpusRunConfig: ...


class Rows(NamedTuple):
    """The pairs of a step.

    Attributes:
        pictures, texts: rows of the corpus, ``[n]`` each.
        view: the view of each picture, ``[n]``.
        step: number of the step.
        rng: for other random numbers of the step.
    """

    pictures: np.ndarray
    texts: np.ndarray
    view: np.ndarray
    step: int
    rng: np.random.Generator


def run_on_corpus(
    module: Module,
    optimiser: AdamW,
    config: CorpusTrainConfig,
    corpus: Corpus,
    out: Path,
    *,
    loss: Callable[[Rows], tuple[Tensor, dict[str, float]]],
    model: Callable[[Module], Model],
    kind: str,
    among: Callable[[int], np.ndarray | None] = lambda step: None,
) -> Model:
    """Train ``module``, or resume the run in ``out``; see :func:`~derefl.training.loop.run_loop`.

    Args:
        module: the trained module.
        optimiser: of the module's parameters.
        config: all settings.
        corpus: the pairs.
        out: folder of the run.
        loss: returns the loss of a batch, and terms for the log.
        model: returns the model in the averaged module. It is saved as ``model.safetensors``.
        kind: the kind of the model.
        among: returns the pictures of a step, bool ``[pictures]``; None: all.

    Returns:
        The averaged model, in evaluation mode.
    """
    run = config.run

    def batches(first: int) -> Iterator[Rows]:
        for step in range(first, run.steps):
            rng = np.random.default_rng([run.seed, step])
            share = config.corpus.caption_share
            pictures, texts = corpus.batch(run.batch, share, rng, among(step))
            yield Rows(pictures, texts, rng.integers(run.views, size=len(pictures)), step, rng)

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
