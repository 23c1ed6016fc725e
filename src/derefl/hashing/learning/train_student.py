"""Train the student on a whole corpus: ``derefl train student``.

The step is the same as in :class:`~derefl.hashing.learning.online.OnlineHasher`, with batches of
the whole corpus, and with the upper part of the image tower trained as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm

from derefl.errors import ConfigError, DataError
from derefl.files import check_output, write_file
from derefl.hashing.encoders import StandInEncoder
from derefl.hashing.hasher import KIND
from derefl.hashing.learning.corpus import Corpus, CorpusConfig, read_corpus
from derefl.hashing.learning.distil import DistilConfig
from derefl.hashing.learning.distiller import (
    Distiller,
    Items,
    StudentRun,
    lower_features,
    positives_of,
    tokens_of,
)
from derefl.hashing.learning.mixing import mixing
from derefl.hashing.learning.offline import Features, cached_features
from derefl.hashing.student import ImageTower, LCDHStudent, LCDHStudentConfig
from derefl.hashing.teacher import LCDHTeacher
from derefl.hashing.tokenizer import word_pieces
from derefl.training.config import Count, Rate, Share, Weight, Whole
from derefl.training.imagenet import load_imagenet_weights
from derefl.training.loop import Loop, run_loop
from derefl.training.schedule import cosine_with_warmup
from derefl.training.state import start_from
from derefl.zoo.checkpoint import save_checkpoint


@dataclass(frozen=True)
class StudentRunConfig:
    """Settings of the training run.

    Attributes:
        steps, batch: number of steps, pairs per step.
        learning_rate, weight_decay, warmup: AdamW and its schedule.
        tune: learning rate of the upper part of the image tower, as a share of ``learning_rate``;
            0 keeps the part fixed.
        fixed: number of stages of the image tower below that part.
        word_dropout: share of the word pieces that a step drops.
        mix: every pair is mixed with another pair, whose share is between 0 and this.
        views: of each picture, see :func:`~derefl.hashing.learning.distiller.views`.
        folds: 1, or the number of folds of the teachers: teacher number i was trained without fold
            i mod ``folds``. Each step uses the pictures of one fold, and the teachers that have
            never seen them.
        ema: decay of the averaged weights, which are the saved weights.
        seed: of weights and batches.
        save_every: steps between resumable states.
    """

    steps: Count = 1500
    batch: Count = 512
    learning_rate: Rate = 2e-3
    weight_decay: Weight = 0.05
    warmup: Whole = 50
    tune: Weight = 0.1
    fixed: Whole = ImageTower.FIXED
    word_dropout: Share = 0.1
    mix: Share = 0.0
    views: Count = 5
    folds: Count = 1
    ema: Share = 0.99
    seed: Whole = 0
    save_every: Count = 300


@dataclass(frozen=True)
class StudentTrainConfig:
    """The tables of the TOML file."""

    model: LCDHStudentConfig = field(default_factory=LCDHStudentConfig)
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
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
        teachers: with several teachers, the student learns from the mean of their similarities and
            from the codes of the first. With ``run.folds``, it learns from the mean similarities of
            the teachers of a fold, and from no codes.
        start: initial weights instead of ImageNet's and MiniLM's; ignored when resuming.

    Returns:
        The averaged student, in evaluation mode.

    Raises:
        DataError: a source is missing or wrong.
        ConfigError: the teachers do not fit the folds, or the settings use codes of the teachers
            with folds; ``start`` is of another architecture.
        CheckpointError: ``out`` holds the state of another architecture.
        OutputError: ``out`` cannot be written to.
    """
    check_output(out / "state.safetensors", overwrite=True)
    run = config.run
    check_folds(config, len(teachers))
    torch.manual_seed(run.seed)
    corpus = read_corpus(config.corpus)
    student = LCDHStudent(config.model)
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

    def step(number: int) -> dict[str, float]:
        rng = np.random.default_rng([run.seed, number])
        fold = number % run.folds
        items, among = folds[fold], corpus.in_fold(fold, run.folds)
        pictures, texts = corpus.batch(run.batch, config.corpus.caption_share, rng, among)
        return distiller.step(
            items,
            pictures,
            texts,
            positives_of(corpus.groups[pictures]).to(device),
            view=rng.integers(len(items.lower), size=len(pictures)),
            shares=mixing(len(pictures), run.mix, rng) if run.mix else None,
            rate=cosine_with_warmup(number, run.steps, run.warmup),
        )

    def save(average: StudentRun) -> None:
        path = out / "model.safetensors"
        save_checkpoint(average.student, path, kind=KIND, config=asdict(config.model))

    module = distiller.module.to(device).train()
    loop = Loop(out, run.steps, run.batch, run.ema, run.save_every)
    return run_loop(loop, module, distiller.optimiser, step, save, config).student


def prepared(
    student: LCDHStudent,
    teachers: Sequence[LCDHTeacher],
    corpus: Corpus,
    out: Path,
    device: torch.device,
    run: StudentRunConfig,
) -> list[Items]:
    """The fixed inputs of the run, from the files in ``out`` or computed.

    Returns:
        One for each fold; they differ in the teachers' vectors.
    """
    features = {
        name: cached_features(out, name, corpus, device, run.views)
        for name in dict.fromkeys(teacher.config.encoder for teacher in teachers)
    }
    path = out / f"lower-{run.fixed}.safetensors"
    if not path.exists():
        pictures = tqdm(corpus.paths, unit="picture", desc="lower part")
        lower = lower_features(student, pictures, count=run.views, stages=run.fixed)
        write_file(path, save({"lower": lower.cpu()}))
    lower = load_file(path)["lower"]
    if lower.shape[:2] != (run.views, len(corpus.paths)):
        raise DataError(
            f"{path} holds {lower.shape[0]} views of {lower.shape[1]} pictures, expected "
            f"{run.views} of {len(corpus.paths)}: delete it, or choose another --out"
        )
    lower, tokens = lower.to(device), tokens_of(student, corpus.texts)
    return [
        Items(lower, tokens, *seen_by(teachers[fold :: run.folds], features, device))
        for fold in range(run.folds)
    ]


def check_folds(config: StudentTrainConfig, teachers: int) -> None:
    """Raise ConfigError if the teachers do not fit the folds of the run."""
    folds = config.run.folds
    if folds < 1 or teachers % folds:
        raise ConfigError(
            f"got {teachers} teachers for run.folds={folds}, expected as many for each fold; list "
            "those of fold 0, 1, … in turn, or set run.folds=1 for teachers who saw everything"
        )
    if folds > 1 and config.loss.teacher and (config.loss.regression or config.loss.matrices):
        raise ConfigError(
            "teachers of several folds have no codes in common; set loss.regression=0 and "
            "loss.matrices=0"
        )


@torch.no_grad()
def seen_by(
    teachers: Sequence[LCDHTeacher], features: Mapping[str, Features], device: torch.device
) -> tuple[Tensor, Tensor]:
    """The teachers' unit vectors of pictures (mean of all views) and texts, concatenated.

    Args:
        teachers: the teachers.
        features: of each encoder that a teacher names.
        device: of the teachers.
    """
    images, texts = [], []
    for teacher in teachers:
        seen = features[teacher.config.encoder]
        views = [teacher.image(view.to(device)) for view in seen.images]
        images.append(F.normalize(torch.stack(views).mean(dim=0), dim=-1))
        texts.append(teacher.text(seen.texts.to(device)))
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
