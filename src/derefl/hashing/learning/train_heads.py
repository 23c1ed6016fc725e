"""Train only the student's hash heads again: ``derefl train heads``.

The codes learn the similarities of the features of teachers, or of the student's own features.
Batches are larger than in the training of the towers. The temperature is lower, so the codes learn
mostly from the nearest items: half-similar items do not matter for search. Because the targets come
from features, the heads can learn from mixtures of pairs, which no model has memorised, and from
texts without a picture.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from derefl.errors import DataError
from derefl.hashing.hasher import KIND, Hasher
from derefl.hashing.learning.corpus import Corpus
from derefl.hashing.learning.corpus_loop import (
    CorpusRunConfig,
    CorpusTrainConfig,
    StepPairs,
    begin,
    run_on_corpus,
)
from derefl.hashing.learning.distil import Temperatures, weighted
from derefl.hashing.learning.features import cached, encoded_views
from derefl.hashing.learning.losses import (
    LENGTHS,
    alignment_loss,
    decorrelation_loss,
    length_weights,
    quantisation_loss,
    straight_through_sign,
)
from derefl.hashing.learning.mixing import mixed, mixing
from derefl.hashing.learning.phrases import loose_phrases
from derefl.hashing.learning.train_student import encoded, seen_by
from derefl.hashing.student import HashHead
from derefl.hashing.teacher import LCDHTeacher
from derefl.training.config import Count, Rate, Share, Weight, Whole
from derefl.training.step import make_optimiser


@dataclass(frozen=True)
class HeadsLossConfig:
    """Weights of the losses.

    Attributes:
        across: distillation of the rows of picture–text similarities, in both directions.
        within: distillation of picture–picture and text–text similarities, without the diagonal.
        scale: inverse temperature of the features' similarities.
        lambda1: h_v ≈ h_t for a pair.
        lambda2: quantisation.
        decorrelation: of the bits of picture codes and text codes.
    """

    across: Weight = 1.5
    within: Weight = 0.15
    scale: Rate = 90.0
    lambda1: Weight = 0.1
    lambda2: Weight = 0.01
    decorrelation: Weight = 0.05


@dataclass(frozen=True)
class HeadsRunConfig(CorpusRunConfig):
    """Settings of the run; see also :class:`~derefl.hashing.learning.corpus_loop.CorpusRunConfig`.

    Attributes:
        hidden: width of the heads' hidden layer. A narrower layer is widened with units that change
            nothing at first; a wider layer keeps its width.
        mix: every pair is mixed with another pair, whose share is between 0 and this.
        loose: texts without a picture per step: those of the corpus, and
            :func:`~derefl.hashing.learning.phrases.loose_phrases`.
    """

    hidden: Count = 1024
    steps: Count = 500
    batch: Count = 1024
    warmup: Whole = 20
    ema: Share = 0.95
    views: Count = 3
    save_every: Count = 100
    mix: Share = 0.5
    loose: Whole = 512


@dataclass(frozen=True)
class HeadsTrainConfig(CorpusTrainConfig):
    """The tables of the TOML file."""

    loss: HeadsLossConfig = field(default_factory=HeadsLossConfig)
    run: HeadsRunConfig = field(default_factory=HeadsRunConfig)


class HeadsRun(nn.Module):
    """The trained modules: both heads and the temperatures of the codes."""

    STARTS = (8.0, 10.0, 13.0, 17.0)
    """Inverse temperatures of 16, 32, 64 and 128 bits; sharper ones make worse codes."""

    def __init__(self, image: HashHead, text: HashHead) -> None:
        super().__init__()
        self.image, self.text, self.temperatures = image, text, Temperatures()
        self.temperatures.log.data[1:] = torch.tensor(self.STARTS).log()


def train_heads(
    config: HeadsTrainConfig,
    out: Path,
    device: torch.device,
    student: Hasher,
    teachers: Sequence[LCDHTeacher] = (),
) -> Hasher:
    """Train the heads, or resume the run in ``out``.

    Args:
        config: all settings.
        out: folder for the features of the student (``features-student.safetensors``) and of the
            teachers' encoders, computed once, ``state.safetensors``, ``log.jsonl`` and
            ``model.safetensors``, the student with the averaged heads.
        device: the device for training.
        student: gives the features and the initial heads; its heads are replaced.
        teachers: the codes learn the mean of their similarities; none: those of the student.

    Returns:
        The student with the averaged heads, in evaluation mode.

    Raises:
        DataError: a source is missing or wrong, or ``out`` holds features of other data or of
            another student.
        CheckpointError: the state in ``out`` has another architecture.
        OutputError: ``out`` cannot be written.
    """
    run, corpus = config.run, begin(config, out)
    corpus = replace(corpus, texts=[*corpus.texts, *loose_phrases(corpus)])
    student.to(device)
    images, texts = (x.to(device) for x in student_features(out, student, corpus, run.views))
    teachers = [teacher.to(device).eval() for teacher in teachers]
    taught = None
    if teachers:
        taught = seen_by(teachers, encoded(teachers, corpus, out, device, run.views))
    hidden = max(run.hidden, student.config.hash_hidden)
    heads = (head.widened(hidden) for head in (student.image_hash, student.text_hash))
    module = HeadsRun(*heads).to(device)

    def loss(rows: StepPairs) -> tuple[Tensor, dict[str, float]]:
        shares = mixing(len(rows.pictures), run.mix, rows.rng)
        captions = np.concatenate([rows.texts, corpus.loose(run.loose, rows.rng)])
        own = images[rows.view, rows.pictures], texts[captions]
        goal = (taught[0][rows.pictures], taught[1][captions]) if taught else own
        (image, text), features = ([mixed(shares, x) for x in pair] for pair in (own, goal))
        return heads_loss(module, image, text, features, config.loss)

    return run_on_corpus(
        module,
        make_optimiser(module, run.learning_rate, run.weight_decay),
        config,
        corpus,
        out,
        loss=loss,
        model=lambda average: with_heads(student, average),
        kind=KIND,
    )


def heads_loss(
    module: HeadsRun,
    images: Tensor,
    texts: Tensor,
    features: Sequence[Tensor],
    config: HeadsLossConfig,
) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum, and the unweighted terms for the log.

    Args:
        module: heads and temperatures.
        images: features of pictures, unit vectors ``[n d]``.
        texts: features of their texts, then of texts without a picture, ``[m d]``, m ≥ n.
        features: unit vectors of the same pictures and texts whose similarities the codes learn.
        config: weights.
    """
    image_code, text_code = module.image(images), module.text(texts)
    codes = [straight_through_sign(h) for h in (image_code, text_code)]
    share = length_weights(LENGTHS).to(images)

    def rows(a: int, b: int) -> Tensor:
        target, across = features[a] @ features[b].T, a != b
        at = module.temperatures
        return at.row_losses(codes[a], codes[b], target, config.scale, across) @ share

    terms = {
        "across": (rows(0, 1) + rows(1, 0)) / 2,
        "within": (rows(0, 0) + rows(1, 1)) / 2,
        "lambda1": alignment_loss(image_code, text_code[: len(image_code)]),
        "lambda2": quantisation_loss(image_code) + quantisation_loss(text_code),
        "decorrelation": decorrelation_loss(codes[0]) + decorrelation_loss(codes[1]),
    }
    return weighted(terms, config)


def student_features(
    out: Path, student: Hasher, corpus: Corpus, count: int
) -> tuple[Tensor, Tensor]:
    """The student's unit vectors, from the file in ``out`` or computed and saved.

    Returns:
        Those of ``count`` views of the pictures ``[views n d]``, and of the texts ``[m d]``.

    Raises:
        DataError: the file belongs to another corpus, student or number of views.
    """
    path = out / "features-student.safetensors"

    def of_pictures(pictures: list[Any]) -> Tensor:
        return torch.from_numpy(student.image_features(pictures))

    def of_texts(texts: list[str]) -> Tensor:
        return torch.from_numpy(student.text_features(texts, progress=len(texts) > 16))

    def compute() -> dict[str, Tensor]:
        images = encoded_views(of_pictures, corpus.paths, count)
        return {"images": images, "texts": of_texts(corpus.texts)}

    sizes = {"images": (count, len(corpus.paths)), "texts": (len(corpus.texts),)}
    found = cached(path, sizes, compute)
    images, texts = found["images"], found["texts"]
    # The first view is the picture itself, so a few features tell the student.
    some = (images[0, :4], of_pictures(corpus.paths[:4])), (texts[:16], of_texts(corpus.texts[:16]))
    if not all(torch.allclose(stored, now, atol=1e-2) for stored, now in some):
        raise DataError(
            f"{path} holds features of another student; delete the file or choose another --out"
        )
    return images, texts


def with_heads(student: Hasher, heads: HeadsRun) -> Hasher:
    """The student itself with copies of these heads, in evaluation mode."""
    student.config = replace(student.config, hash_hidden=heads.image.hidden)
    student.image_hash, student.text_hash = copy.deepcopy((heads.image, heads.text))
    student.learned()
    return student.eval().requires_grad_(False)
