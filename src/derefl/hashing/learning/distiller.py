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
from derefl.hashing.tokenizer import padded, tokenize
from derefl.training.precision import autocast
from derefl.training.step import make_optimiser


@dataclass(frozen=True)
class Items:
    """The fixed inputs of pictures and texts during the training of a student.

    Attributes:
        lower: output of the fixed part of the image tower, ``[views n h w c]``, bfloat16; the views
            are those of :func:`lower_features`.
        tokens: word pieces of each text.
        teacher_image, teacher_text: unit vectors of the teacher, ``[n d]`` and ``[m d]``. Those of
            several teachers are concatenated and scaled to unit length, so that their products are
            the mean similarities. None without a teacher.
    """

    lower: Tensor
    tokens: list[list[int]]
    teacher_image: Tensor | None
    teacher_text: Tensor | None


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
        tune: float,
        weight_decay: float,
        word_dropout: float = 0.0,
        fixed: int = ImageTower.FIXED,
    ) -> None:
        """
        Args:
            student: is trained in place.
            teacher: gives the codes; None trains without a teacher. Of several teachers, the first.
            config: weights of the losses.
            learning_rate: the maximum.
            tune: learning rate of the upper part of the image tower, as a share of
                ``learning_rate``; 0 keeps the part fixed.
            weight_decay: of matrices, except the word-piece embeddings.
            word_dropout: share of the word pieces that a step drops.
            fixed: number of stages in the lower part of the image tower; :class:`Items` holds its
                output.
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
            text = student.text(torch.from_numpy(padded(tokens)).to(device))
        image, text = F.normalize(image.float(), dim=-1), F.normalize(text.float(), dim=-1)
        if shares is not None:
            text = mixed(shares, text)
        return StudentView(image, text, student.image_hash(image), student.text_hash(text))

    def loss(
        self,
        items: Items,
        pictures: np.ndarray,
        texts: np.ndarray,
        positives: Tensor,
        view: int | np.ndarray,
        shares: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, float], StudentView]:
        """The loss of pairs.

        Args:
            items: the data that the rows refer to.
            pictures, texts: rows of ``items``, ``[n]`` each.
            positives: ``[n n]``, 1 where picture and text belong together.
            view: number of the pictures' view, one for all or one for each.
            shares: ``[n n]`` of :func:`~derefl.hashing.learning.mixing.mixing`: the pairs are mixed
                after the fixed part of the image tower, in the text features and in the teacher's
                features. None: no mixing.

        Returns:
            The loss, its terms for the log, and the student's view of the pairs.
        """
        tokens = [self.some(items.tokens[i]) for i in texts]
        if shares is not None:
            shares = shares.to(items.lower.device)
            positives = shares @ positives @ shares.T
        seen = self.look(items.lower[view, pictures], tokens, shares)
        taught = self.taught(items, pictures, texts, shares)
        total, terms = student_loss(seen, taught, positives, self.module.temperatures, self.config)
        return total, terms, seen

    def some(self, pieces: list[int]) -> list[int]:
        """A text without the dropped word pieces; at least one piece stays."""
        if not self.word_dropout:
            return pieces
        stay = torch.rand(len(pieces)) >= self.word_dropout
        return [piece for piece, there in zip(pieces, stay, strict=True) if there] or pieces[:1]

    @torch.no_grad()
    def taught(
        self,
        items: Items,
        pictures: np.ndarray,
        texts: np.ndarray,
        shares: Tensor | None = None,
    ) -> TeacherView | None:
        """The teacher's view of the same pairs, with the same mixing."""
        if self.teacher is None or items.teacher_image is None or items.teacher_text is None:
            return None
        image, text = items.teacher_image[pictures].float(), items.teacher_text[texts].float()
        if shares is not None:
            image, text = mixed(shares, image), mixed(shares, text)
        teacher = self.teacher
        own = [F.normalize(x[:, : teacher.config.dim], dim=-1) for x in (image, text)]
        with autocast(image.device):
            codes = teacher(image=own[0]), teacher(text=own[1]), teacher(*own)
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
    """Output of the fixed part of the image tower for views of pictures.

    Args:
        student: its tower is used.
        images: PIL pictures or paths.
        count: number of views; see :func:`~derefl.hashing.learning.features.views`.
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


def positives_of(groups: np.ndarray) -> Tensor:
    """Float ``[n n]`` from group numbers ``[n]``: 1 for pairs of the same group."""
    numbers = torch.from_numpy(groups)
    return (numbers[:, None] == numbers[None, :]).float()


def tokens_of(student: LCDHStudent, texts: Sequence[str]) -> list[list[int]]:
    """Word pieces of each text, for this student."""
    return tokenize(texts, student.config.vocabulary, student.config.max_tokens)
