"""A student in training, on a whole corpus or on a stream."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from derefl.hashing.learning.distil import (
    DistilConfig,
    StudentView,
    TeacherView,
    Temperatures,
    student_loss,
)
from derefl.hashing.learning.features import encoded_views
from derefl.hashing.learning.mixing import mixed
from derefl.hashing.pictures import square, tensor
from derefl.hashing.student import ImageTower, LCDHStudent
from derefl.hashing.teacher import LCDHTeacher
from derefl.hashing.tokenizer import by_length, padded, tokenize
from derefl.training.precision import autocast
from derefl.training.step import make_optimiser

TEXTS = 96
"""Texts per part of a step."""


@dataclass(frozen=True)
class Items:
    """The fixed inputs of pictures and texts during the training of a student.

    Attributes:
        lower: output of the fixed part of the image tower, bfloat16 ``[views n h w c]``, see
            :func:`lower_features`; of a batch ``[n h w c]``.
        tokens: word pieces of each text.
        teacher_image, teacher_text: unit vectors of the teacher, ``[n d]`` and ``[m d]``. The
            vectors of several teachers are concatenated and scaled to unit length, so that their
            products are the mean similarities. None without a teacher.
        labels: int ``[n]`` or bool ``[n classes]``, for a stream.
        codes: stored codes of pictures and texts, ±1 ``[n 2 K]``, for a stream.
    """

    lower: Tensor
    tokens: list[list[int]]
    teacher_image: Tensor | None = None
    teacher_text: Tensor | None = None
    labels: Tensor | None = None
    codes: Tensor | None = None

    def pick(
        self, pictures: np.ndarray, texts: np.ndarray, view: slice | int | np.ndarray = slice(None)
    ) -> "Items":
        """These pictures and texts, in all views, in one view, or each in its own view."""

        def at(values: Tensor | None, rows: np.ndarray) -> Tensor | None:
            return None if values is None else values[rows]

        return Items(
            self.lower[view, pictures],
            [self.tokens[i] for i in texts],
            at(self.teacher_image, pictures),
            at(self.teacher_text, texts),
            at(self.labels, pictures),
            at(self.codes, pictures),
        )

    def __add__(self, other: "Items") -> "Items":
        def both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
            return None if a is None or b is None else torch.cat([a, b])

        return Items(
            torch.cat([self.lower, other.lower], dim=-4),
            self.tokens + other.tokens,
            both(self.teacher_image, other.teacher_image),
            both(self.teacher_text, other.teacher_text),
            both(self.labels, other.labels),
            both(self.codes, other.codes),
        )


class StudentRun(nn.Module):
    """The trained modules: the student and the temperatures."""

    def __init__(self, student: LCDHStudent) -> None:
        super().__init__()
        self.student, self.temperatures = student, Temperatures()


class Distiller:
    """A student with its optimiser."""

    def __init__(
        self,
        student: LCDHStudent,
        teacher: LCDHTeacher | None,
        config: DistilConfig,
        *,
        learning_rate: float,
        weight_decay: float,
        tune: float = 0.0,
        word_dropout: float = 0.0,
        fixed: int = ImageTower.FIXED,
    ) -> None:
        """
        Args:
            student: is trained in place.
            teacher: gives the codes, the first of several teachers; None: no teacher.
            config: weights of the losses.
            learning_rate, weight_decay: of AdamW. The word-piece embeddings do not decay.
            tune, word_dropout, fixed: see
                :class:`~derefl.hashing.learning.train_student.StudentRunConfig`.
        """
        self.student, self.teacher, self.config = student, teacher, config
        self.word_dropout, self.fixed = word_dropout, fixed
        self.module = StudentRun(student)
        backbone, name = student.image.backbone.requires_grad_(False), "student.image.backbone."
        if tune:
            for part in (backbone.blocks[fixed:], backbone.conv_head, backbone.bn2):
                part.requires_grad_(True)
        self.optimiser = make_optimiser(
            self.module,
            learning_rate,
            weight_decay,
            rates={name: learning_rate * tune},
            no_decay=("student.text.embed.", "student.text.log_weight."),
        )

    def look(
        self, lower: Tensor, tokens: Sequence[Sequence[int]], shares: Tensor | None = None
    ) -> StudentView:
        """The student's view of pictures ``[b h w c]`` and texts, mixed by ``shares [b b]``."""
        student, device = self.student, lower.device
        lower = lower.float()  # bfloat16 in memory, but without autocast the weights need float32
        if shares is not None:
            lower = (shares @ lower.flatten(1)).view_as(lower)
        with autocast(device):
            image = student.image.upper(lower.permute(0, 3, 1, 2), self.fixed)
            text = self.read(tokens)
        image, text = F.normalize(image.float(), dim=-1), F.normalize(text.float(), dim=-1)
        if shares is not None:
            text = mixed(shares, text)
        return StudentView(image, text, student.image_hash(image), student.text_hash(text))

    def read(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Features of texts; parts of similar length have little padding."""
        parts, device = by_length(tokens, TEXTS), self.student.image.project.weight.device
        rows = [torch.from_numpy(padded([tokens[i] for i in part])).to(device) for part in parts]
        features = torch.cat([self.student.text(part) for part in rows])
        return features[np.argsort(np.concatenate(parts))]

    def loss(
        self, batch: Items, positives: Tensor, shares: Tensor | None = None
    ) -> tuple[Tensor, dict[str, float], StudentView]:
        """The loss of a batch of pairs.

        Args:
            batch: n pictures, their texts, and then texts without a picture.
            positives: ``[n n]``, 1 where picture and text belong together.
            shares: ``[n n]`` of :func:`~derefl.hashing.learning.mixing.mixing`: the pairs are mixed
                after the fixed part of the image tower, in the text features and in the teacher's
                features. None: no mixing.

        Returns:
            The loss, its terms for the log, and the student's view of the pairs.
        """
        tokens = [self.some(pieces) for pieces in batch.tokens]
        if shares is not None:
            shares = shares.to(batch.lower.device)
            positives = shares @ positives @ shares.T
        seen, taught = self.look(batch.lower, tokens, shares), self.taught(batch, shares)
        total, terms = student_loss(seen, taught, positives, self.module.temperatures, self.config)
        return total, terms, seen

    def some(self, pieces: list[int]) -> list[int]:
        """A text without the dropped word pieces; at least one piece stays."""
        if not self.word_dropout:
            return pieces
        stay = torch.rand(len(pieces)) >= self.word_dropout
        return [piece for piece, there in zip(pieces, stay, strict=True) if there] or pieces[:1]

    @torch.no_grad()
    def taught(self, batch: Items, shares: Tensor | None = None) -> TeacherView | None:
        """The teacher's view of the same pairs, with the same mixing."""
        if self.teacher is None or batch.teacher_image is None or batch.teacher_text is None:
            return None
        image, text = batch.teacher_image.float(), batch.teacher_text.float()
        if shares is not None:
            image, text = mixed(shares, image), mixed(shares, text)
        teacher = self.teacher
        own = [F.normalize(x[:, : teacher.config.dim], dim=-1) for x in (image, text)]
        with autocast(image.device):
            joint = teacher(own[0], own[1][: len(image)])
            codes = teacher(image=own[0]), teacher(text=own[1]), joint
        return TeacherView(image, text, *(code.float() for code in codes))


@torch.inference_mode()
def lower_features(
    student: LCDHStudent,
    images: Iterable[Any],
    *,
    count: int = 2,
    stages: int = ImageTower.FIXED,
    progress: bool = False,
) -> Tensor:
    """Output of the first ``stages`` of the image tower for ``count`` views of each picture.

    Args:
        student: its tower is used, in evaluation mode.
        images: PIL pictures or paths.
        count: see :func:`~derefl.hashing.learning.features.views`.
        stages: number of stages in the fixed part.
        progress: show a progress bar.

    Returns:
        bfloat16 ``[views n h w c]``.
    """
    side, device = student.config.image_size, student.image.project.weight.device

    def encode(pictures: list[Image.Image]) -> Tensor:
        x = tensor([square(picture, side) for picture in pictures]).to(device)
        with autocast(device):
            return student.image.lower(x, stages).permute(0, 2, 3, 1).bfloat16()

    return encoded_views(encode, images, count, progress=progress).clone()


def tokens_of(student: LCDHStudent, texts: Sequence[str]) -> list[list[int]]:
    """Word pieces of each text, for this student."""
    return tokenize(texts, student.config.vocabulary, student.config.max_tokens)
