"""Train the teacher, offline: ``derefl train teacher``."""

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from derefl.errors import ConfigError
from derefl.hashing.encoders import load_encoder
from derefl.hashing.learning.corpus import Corpus
from derefl.hashing.learning.corpus_loop import (
    CorpusRunConfig,
    CorpusTrainConfig,
    StepPairs,
    begin,
    run_on_corpus,
)
from derefl.hashing.learning.distil import Temperatures
from derefl.hashing.learning.features import cached, encoded_views
from derefl.hashing.learning.losses import (
    alignment_loss,
    contrastive_loss,
    quantisation_loss,
    straight_through_sign,
)
from derefl.hashing.pictures import batches
from derefl.hashing.teacher import LCDHTeacher, LCDHTeacherConfig
from derefl.hashing.teacher_pipeline import KIND
from derefl.training.config import Count, Rate, Weight, Whole
from derefl.training.precision import autocast
from derefl.training.step import make_optimiser


@dataclass(frozen=True)
class TeacherRunConfig(CorpusRunConfig):
    """Settings of the run; see also :class:`~derefl.hashing.learning.corpus_loop.CorpusRunConfig`.

    Attributes:
        codes: weight of InfoNCE between codes, mean over code lengths; between features it is 1.
        code_rows: weight of the distillation from the features into the codes.
        lambda1, lambda2: weights of h_v ≈ h_t for a pair, and of quantisation.
        joint: weight of InfoNCE between the joint code of a pair and the unimodal codes.
        folds, fold: the pictures have ``folds`` equal parts, and part ``fold`` is not used for
            training: a student can learn from similarities of pictures that the teacher has never
            seen, see :func:`~derefl.hashing.learning.train_student.train_student`. 1: use all.
    """

    steps: Count = 1200
    learning_rate: Rate = 1e-3
    codes: Weight = 1.0
    code_rows: Weight = 1.0
    lambda1: Weight = 0.1
    lambda2: Weight = 0.01
    joint: Weight = 0.25
    folds: Count = 1
    fold: Whole = 0


@dataclass(frozen=True)
class TeacherTrainConfig(CorpusTrainConfig):
    """The tables of the TOML file."""

    model: LCDHTeacherConfig = field(default_factory=LCDHTeacherConfig)
    run: TeacherRunConfig = field(default_factory=TeacherRunConfig)


class TeacherRun(nn.Module):
    """The trained modules: the teacher and the temperatures."""

    def __init__(self, teacher: LCDHTeacher) -> None:
        super().__init__()
        self.teacher, self.temperatures = teacher, Temperatures()


def train_teacher(config: TeacherTrainConfig, out: Path, device: torch.device) -> LCDHTeacher:
    """Train a teacher, or resume the run in ``out``.

    Args:
        config: all settings.
        out: folder for the encoder's features (computed once, see :func:`cached_features`),
            ``state.safetensors``, ``log.jsonl`` and ``model.safetensors``, the averaged teacher.
        device: the device for training.

    Returns:
        The averaged teacher, in evaluation mode.

    Raises:
        DataError: a source is missing or wrong, or ``out`` holds features of other data.
        ConfigError: the fold does not exist.
        CheckpointError: the state in ``out`` has another architecture.
        OutputError: ``out`` cannot be written.
    """
    run = config.run
    if run.fold >= run.folds:
        raise ConfigError(
            f"got run.fold={run.fold} and run.folds={run.folds}, expected run.fold from 0 to "
            f"{run.folds - 1}"
        )
    corpus = begin(config, out)
    images, texts = cached_features(out, config.model.encoder, corpus, device, run.views)
    model = replace(config.model, image_dim=images.shape[-1], text_dim=texts.shape[-1])
    module = TeacherRun(LCDHTeacher(model)).to(device)
    seen = ~corpus.in_fold(run.fold, run.folds) if run.folds > 1 else None

    def loss(rows: StepPairs) -> tuple[Tensor, dict[str, float]]:
        pictures = images[rows.view, rows.pictures]
        return teacher_loss(module, pictures, texts[rows.texts], rows.positives, run)

    return run_on_corpus(
        module,
        make_optimiser(module, run.learning_rate, run.weight_decay),
        config,
        corpus,
        out,
        loss=loss,
        model=lambda average: average.teacher,
        kind=KIND,
        among=lambda step: seen,
    )


def teacher_loss(
    module: TeacherRun, images: Tensor, texts: Tensor, positives: Tensor, run: TeacherRunConfig
) -> tuple[Tensor, dict[str, float]]:
    """InfoNCE of features and of codes, alignment and quantisation.

    Args:
        module: teacher and temperatures.
        images, texts: the encoder's features of pairs, ``[n image_dim]`` and ``[n text_dim]``.
        positives: ``[n n]``, 1 where picture and text belong together.
        run: weights.
    """
    teacher, temperatures = module.teacher, module.temperatures
    with autocast(images.device):
        image, text = teacher.image(images), teacher.text(texts)
        image_code, text_code = teacher(image=image).float(), teacher(text=text).float()
        joint = teacher(image=image, text=text).float()
    image, text = F.normalize(image.float(), dim=-1), F.normalize(text.float(), dim=-1)
    a, b, both = (straight_through_sign(h) for h in (image_code, text_code, joint))
    terms: dict[str, Callable[[], Tensor]] = {
        "codes": lambda: temperatures.contrast(a, b, positives),
        "code_rows": lambda: self_distillation(image.detach(), text.detach(), (a, b), temperatures),
        "joint": lambda: (
            temperatures.contrast(a, both, positives) + temperatures.contrast(both, b, positives)
        ),
        "lambda1": lambda: alignment_loss(image_code, text_code),
        "lambda2": lambda: quantisation_loss(image_code) + quantisation_loss(text_code),
    }
    total = contrastive_loss(image @ text.T, positives, temperatures.of_features())
    log = {"features": float(total.detach())}
    for name, of in terms.items():
        if weight := getattr(run, name):  # a term with weight 0 would cost as much time
            term = of()
            total = total + weight * term
            log[name] = float(term.detach())
    return total, log


def self_distillation(
    image: Tensor, text: Tensor, codes: Sequence[Tensor], temperatures: Temperatures
) -> Tensor:
    """Distil rows of the features' similarities, ``[n d]``, into codes ``[n K]`` of all lengths."""
    scale = float(temperatures.of_features().detach())
    sides = zip((image, text), codes, strict=True)
    terms = [
        temperatures.row_losses(x, y, a @ b.T, scale, a is not b)
        for (a, x), (b, y) in itertools.product(sides, repeat=2)
    ]
    return torch.stack(terms).mean()


def cached_features(
    out: Path, name: str, corpus: Corpus, device: torch.device, count: int
) -> tuple[Tensor, Tensor]:
    """An encoder's features of ``count`` views of the pictures, ``[views n d]``, and of the texts.

    They are stored in ``out`` as ``features-ENCODER.safetensors``; the file can be copied to a run
    with the same corpus.

    Raises:
        DataError: the file belongs to another corpus or another number of views.
    """

    def compute() -> dict[str, Tensor]:
        encoder = load_encoder(name, device)
        with autocast(device):
            images = encoded_views(encoder.encode_image, corpus.paths, count)
            parts = tqdm(list(batches(corpus.texts, 1024)), unit="batch", desc="texts")
            texts = torch.cat([encoder.encode_text(part) for part in parts])
        return {"images": images.half(), "texts": texts.half()}

    path = out / f"features-{re.sub('[^A-Za-z0-9.]+', '-', name)}.safetensors"
    sizes = {"images": (count, len(corpus.paths)), "texts": (len(corpus.texts),)}
    found = cached(path, sizes, compute)
    return found["images"].float().to(device), found["texts"].float().to(device)
