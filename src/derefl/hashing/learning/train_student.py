"""Train the student on a whole corpus: ``derefl train student``.

The step is the same as in :class:`~derefl.hashing.learning.online.OnlineHasher`, with batches of
the whole corpus, and with the upper part of the image tower trained as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from derefl.errors import ConfigError
from derefl.hashing.encoders import StandInEncoder
from derefl.hashing.hasher import KIND
from derefl.hashing.learning.corpus import Corpus
from derefl.hashing.learning.corpus_loop import (
    CorpusRunConfig,
    CorpusTrainConfig,
    StepPairs,
    begin,
    run_on_corpus,
)
from derefl.hashing.learning.distil import DistilConfig
from derefl.hashing.learning.distiller import Distiller, Items, lower_features, tokens_of
from derefl.hashing.learning.features import cached
from derefl.hashing.learning.mixing import mixing
from derefl.hashing.learning.train_teacher import cached_features
from derefl.hashing.student import ImageTower, LCDHStudent, LCDHStudentConfig
from derefl.hashing.teacher import LCDHTeacher
from derefl.hashing.tokenizer import word_pieces
from derefl.training.config import Count, Share, Weight, Whole
from derefl.training.imagenet import load_imagenet_weights
from derefl.training.state import start_from


@dataclass(frozen=True)
class StudentRunConfig(CorpusRunConfig):
    """Settings of the run; see also :class:`~derefl.hashing.learning.corpus_loop.CorpusRunConfig`.

    Attributes:
        tune: learning rate of the upper part of the image tower, as a share of ``learning_rate``;
            0 keeps the part fixed.
        fixed: number of stages of the image tower below that part.
        word_dropout: share of the word pieces that a step drops.
        mix: every pair is mixed with another pair, whose share is between 0 and this.
        folds: 1, or the number of folds of the teachers: teacher number i was trained without fold
            i mod ``folds``. Each step uses the pictures of one fold, and the teachers that have
            never seen them.
        loose: captions without a picture per step, if the corpus has any.
    """

    tune: Weight = 0.1
    fixed: Whole = ImageTower.FIXED
    word_dropout: Share = 0.1
    mix: Share = 0.0
    folds: Count = 1
    loose: Whole = 384


@dataclass(frozen=True)
class StudentTrainConfig(CorpusTrainConfig):
    """The tables of the TOML file."""

    model: LCDHStudentConfig = field(default_factory=LCDHStudentConfig)
    loss: DistilConfig = field(default_factory=DistilConfig)
    run: StudentRunConfig = field(default_factory=StudentRunConfig)


def train_student(
    config: StudentTrainConfig,
    out: Path,
    device: torch.device,
    teachers: Sequence[LCDHTeacher],
    start: LCDHStudent | None = None,
) -> LCDHStudent:
    """Train a student, or resume the run in ``out``.

    Args:
        config: all settings.
        out: folder for the features of each encoder and ``lower-STAGES.safetensors`` (the fixed
            part of the image tower), computed once, ``state.safetensors``, ``log.jsonl`` and
            ``model.safetensors``, the averaged student.
        device: the device for training.
        teachers: the student learns the mean of their similarities and the codes of the first. With
            ``run.folds``, it learns the mean similarities of the teachers of a fold, and no codes.
        start: initial weights instead of ImageNet's and MiniLM's; ignored when a run is resumed.

    Returns:
        The averaged student, in evaluation mode.

    Raises:
        DataError: a source is missing or wrong, or ``out`` holds features of other data.
        ConfigError: the teachers do not fit the folds, the settings use codes of teachers of
            several folds, or ``start`` has another architecture.
        CheckpointError: the state in ``out`` has another architecture.
        OutputError: ``out`` cannot be written.
    """
    run = config.run
    check_folds(config, len(teachers))
    corpus = begin(config, out)
    # In evaluation mode, a picture's features do not depend on the other pictures.
    student = LCDHStudent(config.model).eval()
    if start is None:
        load_imagenet_weights(student.image.backbone, config.model.backbone, num_classes=0)
        start_text_tower(student, corpus)
    else:
        start_from(student, start)
    teachers = [teacher.to(device).eval() for teacher in teachers]
    student.to(device)
    folds = prepared(student, teachers, corpus, out, device, run)
    distiller = Distiller(
        student,
        teachers[0],
        config.loss,
        learning_rate=run.learning_rate,
        tune=run.tune,
        weight_decay=run.weight_decay,
        word_dropout=run.word_dropout,
        fixed=run.fixed,
    )

    def loss(rows: StepPairs) -> tuple[Tensor, dict[str, float]]:
        texts = np.concatenate([rows.texts, corpus.loose(run.loose, rows.rng)])
        batch = folds[rows.step % run.folds].pick(rows.pictures, texts, rows.view)
        shares = mixing(len(rows.pictures), run.mix, rows.rng) if run.mix else None
        total, terms, _ = distiller.loss(batch, rows.positives, shares)
        return total, terms

    return run_on_corpus(
        distiller.module.to(device),
        distiller.optimiser,
        config,
        corpus,
        out,
        loss=loss,
        model=lambda average: average.student,
        kind=KIND,
        among=lambda step: corpus.in_fold(step % run.folds, run.folds),
    )


def prepared(
    student: LCDHStudent,
    teachers: Sequence[LCDHTeacher],
    corpus: Corpus,
    out: Path,
    device: torch.device,
    run: StudentRunConfig,
) -> list[Items]:
    """The fixed inputs for each fold, from the files in ``out`` or computed."""
    features = encoded(teachers, corpus, out, device, run.views)
    sizes = {"lower": (run.views, len(corpus.paths))}

    def compute() -> dict[str, Tensor]:
        lower = lower_features(
            student, corpus.paths, count=run.views, stages=run.fixed, progress=True
        )
        return {"lower": lower.cpu()}

    lower = cached(out / f"lower-{run.fixed}.safetensors", sizes, compute)["lower"]
    lower, tokens = lower.to(device), tokens_of(student, corpus.texts)
    return [
        Items(lower, tokens, *seen_by(teachers[fold :: run.folds], features))
        for fold in range(run.folds)
    ]


def check_folds(config: StudentTrainConfig, teachers: int) -> None:
    """Raise ConfigError if the teachers do not fit the folds of the run."""
    folds = config.run.folds
    if teachers % folds:
        raise ConfigError(
            f"got {teachers} teachers for run.folds={folds}, expected the same number for each "
            "fold: list the teachers of fold 0, 1, … in turn; for teachers of all pictures set "
            "run.folds=1"
        )
    if folds > 1 and config.loss.teacher and (config.loss.regression or config.loss.matrices):
        raise ConfigError(
            "the teachers of different folds have different codes: set loss.regression=0 and "
            "loss.matrices=0"
        )


def encoded(
    teachers: Sequence[LCDHTeacher], corpus: Corpus, out: Path, device: torch.device, views: int
) -> dict[str, tuple[Tensor, Tensor]]:
    """The features of each encoder of the teachers, from the files in ``out`` or computed."""
    return {
        name: cached_features(out, name, corpus, device, views)
        for name in dict.fromkeys(teacher.config.encoder for teacher in teachers)
    }


@torch.no_grad()
def seen_by(
    teachers: Sequence[LCDHTeacher], features: Mapping[str, tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """The teachers' unit vectors of pictures (mean of all views) and texts, concatenated.

    ``features`` are those of each encoder: pictures ``[views n d]`` and texts ``[m d]``.
    """
    images, texts = [], []
    for teacher in teachers:
        pictures, captions = features[teacher.config.encoder]
        views = torch.stack([teacher.image(view) for view in pictures])
        images.append(F.normalize(views.mean(dim=0), dim=-1))
        texts.append(teacher.text(captions))
    scale = len(teachers) ** -0.5
    return scale * torch.cat(images, dim=1), scale * torch.cat(texts, dim=1)


def start_text_tower(student: LCDHStudent, corpus: Corpus) -> None:
    """Initialise the text tower from the stand-in's text encoder, in place.

    Each word piece gets the encoder's vector, with 384 numbers, reduced to the first principal
    components. The initial weights are those of SIF: a / (a + p) for a piece of frequency p in the
    corpus, a = 10⁻³ (Arora et al., 2017).
    """
    config = student.config
    embeddings = StandInEncoder().word_embeddings(word_pieces()[: config.vocabulary])
    embeddings = embeddings - embeddings.mean(dim=0)
    components = torch.linalg.svd(embeddings[:8000], full_matrices=False).Vh[: config.token_dim]
    start = F.normalize(embeddings @ components.T, dim=1)
    student.text.embed.weight.data.copy_(0.5 * config.token_dim**0.5 * start)
    student.text.embed.weight.data[0] = 0
    pieces = np.concatenate([np.array(t, np.int64) for t in tokens_of(student, corpus.texts)])
    counts = torch.from_numpy(np.bincount(pieces, minlength=config.vocabulary)).float()
    weights: Tensor = 1e-3 / (1e-3 + counts / counts.sum())
    student.text.log_weight.weight.data[:, 0] = weights.log().clamp_min(-4)
