"""Training the teacher, offline: ``derefl train teacher``."""

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn
from tqdm import tqdm

from derefl.errors import ConfigError, DataError
from derefl.files import check_output, write_file
from derefl.hashing.encoders import Encoder, load_encoder
from derefl.hashing.learning.corpus import Corpus, CorpusConfig, read_corpus
from derefl.hashing.learning.distil import Temperatures
from derefl.hashing.learning.distiller import positives_of, views
from derefl.hashing.learning.losses import (
    LENGTHS,
    alignment_loss,
    contrastive_loss,
    nested,
    quantisation_loss,
    row_distillation,
    straight_through_sign,
)
from derefl.hashing.pictures import batches, read
from derefl.hashing.teacher import LCDHTeacher, LCDHTeacherConfig
from derefl.hashing.teacher_pipeline import KIND
from derefl.training.config import Count, Rate, Share, Weight, Whole
from derefl.training.loop import Loop, run_loop
from derefl.training.precision import autocast
from derefl.training.schedule import cosine_with_warmup
from derefl.training.step import take_step
from derefl.zoo.checkpoint import save_checkpoint


@dataclass(frozen=True)
class TeacherRunConfig:
    """Settings of the training run.

    Attributes:
        steps, batch: number of steps, pairs per step.
        learning_rate, weight_decay, warmup: AdamW and its schedule.
        codes: weight of InfoNCE between codes, mean over code lengths; between features it is 1.
        code_rows: weight of the distillation from the features into the codes.
        lambda1, lambda2: weights of h_v ≈ h_t for a pair, and of quantisation.
        joint: weight of InfoNCE between the joint code of a pair and the unimodal codes.
        views: of each picture, see :func:`~derefl.hashing.learning.distiller.views`.
        folds, fold: the pictures have ``folds`` equal parts, and part ``fold`` is not used for
            training: a student can learn from similarities of pictures that the teacher has never
            seen, see :func:`~derefl.hashing.learning.train_student.train_student`. 1: use all.
        ema: decay of the averaged weights, which are the saved weights.
        seed: of weights and batches.
        save_every: steps between resumable states.
    """

    steps: Count = 1200
    batch: Count = 512
    learning_rate: Rate = 1e-3
    weight_decay: Weight = 0.05
    warmup: Whole = 50
    codes: Weight = 1.0
    code_rows: Weight = 1.0
    lambda1: Weight = 0.1
    lambda2: Weight = 0.01
    joint: Weight = 0.25
    views: Count = 5
    folds: Count = 1
    fold: Whole = 0
    ema: Share = 0.99
    seed: Whole = 0
    save_every: Count = 300


@dataclass(frozen=True)
class TeacherTrainConfig:
    """The tables of the TOML file."""

    model: LCDHTeacherConfig = field(default_factory=LCDHTeacherConfig)
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    run: TeacherRunConfig = field(default_factory=TeacherRunConfig)


class Features(NamedTuple):
    """An encoder's features of a corpus.

    Attributes:
        images: ``[views n image_dim]``.
        texts: ``[m text_dim]``.
    """

    images: Tensor
    texts: Tensor


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
        DataError: a source is missing or wrong.
        ConfigError: the fold does not exist.
        CheckpointError: ``out`` holds the state of another architecture.
        OutputError: ``out`` cannot be written to.
    """
    check_output(out / "state.safetensors", overwrite=True)
    run = config.run
    if not 0 <= run.fold < run.folds:
        raise ConfigError(
            f"got run.fold={run.fold} of run.folds={run.folds}, expected a number from 0 below it"
        )
    torch.manual_seed(run.seed)
    corpus = read_corpus(config.corpus)
    features = cached_features(out, config.model.encoder, corpus, device, run.views)
    image_dim, text_dim = features.images.shape[-1], features.texts.shape[-1]
    model = replace(config.model, image_dim=image_dim, text_dim=text_dim)
    module = TeacherRun(LCDHTeacher(model)).to(device).train()
    optimiser = make_optimiser(module, run.learning_rate, run.weight_decay)
    images, texts = features.images.to(device), features.texts.to(device)

    seen = ~corpus.in_fold(run.fold, run.folds) if run.folds > 1 else None

    def step(number: int) -> dict[str, float]:
        rng = np.random.default_rng([run.seed, number])
        picture_rows, text_rows = corpus.batch(run.batch, config.corpus.caption_share, rng, seen)
        loss, terms = teacher_loss(
            module,
            images[rng.integers(len(images), size=len(picture_rows)), picture_rows],
            texts[text_rows],
            positives_of(corpus.groups[picture_rows]).to(device),
            run,
        )
        norm = take_step(optimiser, loss, cosine_with_warmup(number, run.steps, run.warmup))
        return {"loss": float(loss.detach()), "norm": float(norm), **terms}

    def save(average: TeacherRun) -> None:
        path = out / "model.safetensors"
        save_checkpoint(average.teacher, path, kind=KIND, config=asdict(model))

    loop = Loop(out, run.steps, run.batch, run.ema, run.save_every)
    return run_loop(loop, module, optimiser, step, save, config).teacher


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

    def contrast(a: Tensor, b: Tensor) -> Tensor:
        bits = a.shape[1]
        return contrastive_loss(a @ b.T / bits, positives, temperatures.of_codes(bits))

    codes = [straight_through_sign(h) for h in (image_code, text_code, joint)]
    terms: dict[str, Callable[[], Tensor]] = {
        "codes": lambda: nested(contrast, codes[0], codes[1]),
        "code_rows": lambda: self_distillation(
            image.detach(), text.detach(), codes[:2], temperatures
        ),
        "joint": lambda: (
            nested(contrast, codes[0], codes[2]) + nested(contrast, codes[2], codes[1])
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
    """Distil rows of the features' similarity matrices into the codes of every length.

    Args:
        image, text: unit vectors ``[n d]``, without gradient.
        codes: codes of pictures and texts, ``[n K]`` each.
        temperatures: of features and codes.
    """
    at = float(temperatures.of_features().detach())
    terms = []
    for (a, x), (b, y) in itertools.product(zip((image, text), codes, strict=True), repeat=2):
        for bits in LENGTHS:
            similarity = x[:, :bits] @ y[:, :bits].T / bits
            scale = temperatures.of_codes(bits)
            terms.append(row_distillation(similarity, a @ b.T, scale, at, diagonal=a is not b))
    return torch.stack(terms).mean()


def cached_features(
    out: Path, name: str, corpus: Corpus, device: torch.device, count: int
) -> Features:
    """The encoder's features of a corpus, read from the file in ``out`` or computed and saved.

    The file is ``features-ENCODER.safetensors``; it can be copied to a run with the same corpus.

    Args:
        out: folder of the run.
        name: of the encoder.
        corpus: pictures and texts.
        device: the device of the encoder.
        count: number of views per picture.

    Raises:
        DataError: the file belongs to another corpus or another number of views.
    """
    path = out / f"features-{re.sub('[^A-Za-z0-9.]+', '-', name)}.safetensors"
    if not path.exists():
        features = encode(load_encoder(name, device), corpus, count, device)
        write_file(path, save({k: v.half() for k, v in features._asdict().items()}))
    features = Features(**{k: v.float() for k, v in load_file(path).items()})
    found = [*features.images.shape[:-1], len(features.texts)]
    if found != [count, len(corpus.paths), len(corpus.texts)]:
        raise DataError(
            f"{path} has features of {' × '.join(map(str, found[:-1]))} pictures and {found[-1]} "
            f"texts, the data are {count} × {len(corpus.paths)} and {len(corpus.texts)}: delete "
            "it, or choose another --out"
        )
    return features


def encode(encoder: Encoder, corpus: Corpus, count: int, device: torch.device) -> Features:
    """Features of ``count`` views of all pictures, and of all texts, with a progress bar."""
    rng = np.random.default_rng(0)
    images, texts = [], []
    with autocast(device):
        for part in tqdm(list(batches(corpus.paths, 64)), unit="batch", desc="pictures"):
            looks = [views(read(path), count, rng) for path in part]
            images.append(torch.stack([encoder.encode_image(v) for v in zip(*looks, strict=True)]))
        for part in tqdm(list(batches(corpus.texts, 1024)), unit="batch", desc="texts"):
            texts.append(encoder.encode_text(part))
    return Features(torch.cat(images, dim=1), torch.cat(texts))


def make_optimiser(module: nn.Module, rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW; vectors (norms, biases, temperatures) do not decay."""
    matrices = [p for p in module.parameters() if p.ndim > 1]
    vectors = [p for p in module.parameters() if p.ndim <= 1]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=rate,
    )
