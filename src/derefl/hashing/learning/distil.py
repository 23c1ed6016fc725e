"""The losses of a student: on pairs, and against the similarities of a teacher."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import torch
from msgspec import Meta
from torch import Tensor, nn

from derefl.hashing.learning.losses import (
    LENGTHS,
    alignment_loss,
    contrastive_loss,
    decorrelation_loss,
    length_weights,
    nested,
    quantisation_loss,
    row_distillation,
    similarity_distillation,
    straight_through_sign,
)
from derefl.training.config import Rate, Weight

Length = Annotated[int, Meta(ge=16, le=128, multiple_of=16)]


@dataclass(frozen=True)
class DistilConfig:
    """Weights of the student's losses.

    Attributes:
        contrastive: InfoNCE between codes of pictures and texts, mean over code lengths.
        float_contrastive: InfoNCE between their real-valued features.
        rows: distillation of the rows of the teacher's similarity matrices (picture–text, and
            picture–picture and text–text without the diagonal) into the student's features.
        code_rows: the same into the student's codes, mean over code lengths.
        matrices: squared distance between the code similarity matrices and the teacher's.
        regression: squared distance between the real-valued codes and the teacher's codes.
        lambda1: h_v ≈ h_t for a pair.
        lambda2: quantisation.
        decorrelation: of the bits of picture codes and text codes.
        lengths: the code lengths to train; a single length is the ablation of nested codes.
        teacher: False trains without the teacher, for the ablation.
        scale: inverse temperature of the teacher's similarities.
    """

    contrastive: Weight = 0.25
    float_contrastive: Weight = 0.25
    rows: Weight = 2.0
    code_rows: Weight = 3.0
    matrices: Weight = 0.0
    regression: Weight = 1.0
    lambda1: Weight = 0.1
    lambda2: Weight = 0.01
    decorrelation: Weight = 0.1
    lengths: Annotated[tuple[Length, ...], Meta(min_length=1)] = LENGTHS
    teacher: bool = True
    scale: Rate = 22.0


class StudentView(NamedTuple):
    """The student's view of a batch: unit features ``[n d]`` and real-valued codes ``[n K]``.

    There may be more texts than pictures: ``[m d]`` and ``[m K]``, the texts of the pictures first.
    """

    image: Tensor
    text: Tensor
    image_code: Tensor
    text_code: Tensor


class TeacherView(NamedTuple):
    """The teacher's view of a batch, as :class:`StudentView`, and the joint codes of the pairs."""

    image: Tensor
    text: Tensor
    image_code: Tensor
    text_code: Tensor
    joint_code: Tensor


class Temperatures(nn.Module):
    """Learned inverse temperatures of the features and of the codes of each length."""

    LARGEST = 60.0

    def __init__(self) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor([16.0, *(8.0 for _ in LENGTHS)]).log())

    def of_features(self) -> Tensor:
        return self.log[0].exp().clamp(max=self.LARGEST)

    def of_codes(self, bits: int) -> Tensor:
        return self.log[1 + LENGTHS.index(bits)].exp().clamp(max=self.LARGEST)

    def contrast(
        self, a: Tensor, b: Tensor, positives: Tensor, lengths: Sequence[int] = LENGTHS
    ) -> Tensor:
        """InfoNCE between codes ``[n K]``, mean over the code lengths."""

        def loss(x: Tensor, y: Tensor) -> Tensor:
            bits = x.shape[1]
            return contrastive_loss(x @ y.T / bits, positives, self.of_codes(bits))

        return nested(loss, a, b, lengths)

    def row_losses(
        self,
        a: Tensor,
        b: Tensor,
        target: Tensor,
        scale: float,
        diagonal: bool,
        lengths: Sequence[int] = LENGTHS,
    ) -> Tensor:
        """:func:`row_distillation` into codes ``[n K]`` of each length: ``[lengths]``."""
        terms = []
        for bits in lengths:
            similarity, at = a[:, :bits] @ b[:, :bits].T / bits, self.of_codes(bits)
            terms.append(row_distillation(similarity, target, at, scale, diagonal=diagonal))
        return torch.stack(terms)


def student_loss(
    student: StudentView,
    teacher: TeacherView | None,
    positives: Tensor,
    temperatures: Temperatures,
    config: DistilConfig,
) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum, and the unweighted terms for the log.

    Args:
        student: the student's view of the batch.
        teacher: the teacher's view; None, or ``config.teacher`` False, trains without a teacher.
        positives: ``[n n]``, 1 where picture and text belong together.
        temperatures: of the contrastive terms.
        config: weights.
    """
    image_code = straight_through_sign(student.image_code)
    text_code = straight_through_sign(student.text_code)
    scale, n = temperatures.of_features(), len(image_code)
    terms = {
        "contrastive": temperatures.contrast(image_code, text_code[:n], positives, config.lengths),
        "float_contrastive": contrastive_loss(student.image @ student.text[:n].T, positives, scale),
        "lambda1": alignment_loss(student.image_code, student.text_code[:n]),
        "lambda2": quantisation_loss(student.image_code) + quantisation_loss(student.text_code),
        "decorrelation": decorrelation_loss(image_code) + decorrelation_loss(text_code),
    }
    if teacher is not None and config.teacher:
        terms |= distillation(student, teacher, (image_code, text_code), temperatures, config)
    return weighted(terms, config)


def distillation(
    student: StudentView,
    teacher: TeacherView,
    codes: tuple[Tensor, Tensor],
    temperatures: Temperatures,
    config: DistilConfig,
) -> dict[str, Tensor]:
    """The distillation terms: rows of the teacher's similarity matrices, for features and codes."""
    rows, code_rows, matrices = [], [], []
    lengths, scale, n = config.lengths, config.scale, len(student.image)
    joint = teacher.joint_code @ teacher.joint_code.T / teacher.joint_code.shape[1]
    for a, b in ((0, 1), (1, 0), (0, 0), (1, 1)):
        target, similarity, across = teacher[a] @ teacher[b].T, student[a] @ student[b].T, a != b
        x, y = codes[a], codes[b]
        rows.append(row_distillation(similarity, target, scale, scale, diagonal=across))
        code_rows.append(temperatures.row_losses(x, y, target, scale, across, lengths))
        pairs = x[:n], y[:n]
        matrices.append(nested(lambda u, v: similarity_distillation(u, v, joint), *pairs, lengths))
    return {
        "rows": torch.stack(rows).mean(),
        "code_rows": (torch.stack(code_rows) @ length_weights(lengths).to(joint)).mean(),
        "matrices": torch.stack(matrices).mean(),
        "regression": alignment_loss(student.image_code, teacher.image_code)
        + alignment_loss(student.text_code[:n], teacher.text_code[:n]),
    }


def weighted(terms: Mapping[str, Tensor], weights: Any) -> tuple[Tensor, dict[str, float]]:
    """The sum of the terms times the ``weights`` of their names, and the terms for the log."""
    total = torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
    return total, {name: float(term.detach()) for name, term in terms.items()}
