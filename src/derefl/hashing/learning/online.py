"""Learning from a stream: chunks of pairs come once, and stored codes never change.

Each step learns from pairs of the chunk and from *anchors*: a few earlier pairs with the codes that
were stored for them. The codes of new pictures and texts are trained to match the stored codes of
similar anchors, so that later queries still find earlier items.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from derefl.errors import DataError
from derefl.hashing.codes import pack
from derefl.hashing.hasher import Hasher
from derefl.hashing.learning.distil import DistilConfig, Temperatures
from derefl.hashing.learning.distiller import Distiller, Items, lower_features, tokens_of
from derefl.hashing.learning.losses import LENGTHS, straight_through_sign
from derefl.hashing.pictures import listed
from derefl.hashing.teacher_pipeline import TeacherPipeline
from derefl.hashing.tokenizer import strings
from derefl.training.config import Count, Rate, Weight, Whole, check
from derefl.training.step import take_step


@dataclass(frozen=True)
class OnlineConfig:
    """Settings of the learning from a chunk.

    Attributes:
        loss: weights of the losses.
        epochs: over the chunk.
        batch: pairs of the chunk per step; the step adds as many anchors, if there are any.
        anchors: number of earlier pairs to keep, a uniform sample of all so far; 0: no replay.
        replay: weight of the anchors' loss.
        learning_rate, weight_decay: AdamW; the rate falls within each chunk.
        seed: of the batches and of the choice of anchors.
    """

    loss: DistilConfig = field(default_factory=DistilConfig)
    epochs: Count = 10
    batch: Count = 128
    anchors: Whole = 512
    replay: Weight = 1.0
    learning_rate: Rate = 1e-3
    weight_decay: Weight = 0.05
    seed: Whole = 0


class OnlineHasher:
    """A student that learns from a stream: ``partial_fit`` for a chunk, ``student`` to encode.

    Attributes:
        student: the current student.
    """

    def __init__(
        self, student: Hasher, teacher: TeacherPipeline | None, config: OnlineConfig | None = None
    ) -> None:
        """
        Args:
            student: the initial student, trained in place.
            teacher: the teacher; None: learn from pairs and labels only (ablation).
            config: settings.

        Raises:
            ConfigError: a setting is out of range, like a negative weight.
        """
        self.config = config or OnlineConfig()
        check(self.config)
        self.student = student
        self.teacher = teacher
        self.rng = np.random.default_rng(self.config.seed)
        self.distiller = Distiller(
            student,
            teacher.network if teacher else None,
            self.config.loss,
            learning_rate=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
        )
        self.anchors: Items | None = None
        self.seen = 0

    def partial_fit(
        self, images: Sequence[Any], texts: Sequence[str], labels: Any = None
    ) -> dict[str, float]:
        """Learn from a chunk. The student's weights differ from its checkpoint afterwards.

        The student's ``name`` and ``sha256`` change, see :meth:`Hasher.learned`.

        Args:
            images: PIL pictures or paths.
            texts: one for each picture.
            labels: optional, to define similar pairs: int ``[n]`` (equal) or bool ``[n classes]``
                (one in common). Without labels a picture matches its own text only.

        Returns:
            The mean losses.

        Raises:
            DataError: the numbers of pictures, texts and labels differ, or are 0.
            ImageError: a picture cannot be read.
        """
        images, texts = list(listed(images)), strings(texts)
        labels = checked(images, texts, labels)
        chunk = self.items(images, texts, labels)
        torch.manual_seed(int(self.rng.integers(2**31)))
        self.student.train()
        steps = self.config.epochs * -(-len(images) // self.config.batch)
        totals: dict[str, float] = {}
        try:
            for step in range(steps):
                rows = self.rng.permutation(len(images))[: self.config.batch]
                rate = min(1.0, (step + 1) / 10) * (1 - 0.9 * step / steps)
                for name, value in self.step(chunk, rows, rate).items():
                    totals[name] = totals.get(name, 0.0) + value / steps
        finally:
            self.student.eval()
            self.student.learned()
        self.keep(chunk)
        return totals

    def step(self, chunk: Items, rows: np.ndarray, rate: float) -> dict[str, float]:
        """One step on these pairs of the chunk and as many anchors."""
        view, old = int(self.rng.integers(2)), None
        batch = chunk.pick(rows, rows, view)
        if self.anchors and self.config.replay:
            some = self.rng.permutation(len(self.anchors.tokens))[: len(rows)]
            old = self.anchors.pick(some, some, view)
            batch += old
        alike = positives(batch.labels, len(batch.tokens)).to(batch.lower.device)
        loss, terms, seen = self.distiller.loss(batch, alike)
        if old is not None and old.codes is not None:
            codes, temperatures = (
                (seen.image_code, seen.text_code),
                self.distiller.module.temperatures,
            )
            replayed = replay_loss(codes, old.codes, alike[:, len(rows) :], temperatures)
            loss = loss + self.config.replay * replayed
        norm = take_step(self.distiller.optimiser, loss, rate)
        return {"loss": float(loss.detach()), "norm": float(norm), **terms}

    def items(
        self, images: Sequence[Any], texts: Sequence[str], labels: Tensor | None = None
    ) -> Items:
        """The fixed inputs of a chunk."""
        return Items(
            lower_features(self.student, images),
            tokens_of(self.student, texts),
            self.teacher.images(images) if self.teacher else None,
            self.teacher.texts(texts) if self.teacher else None,
            labels,
        )

    @torch.no_grad()
    def keep(self, chunk: Items) -> None:
        """Add some pairs of the chunk to the anchors, with their current codes."""
        size, n = self.config.anchors, len(chunk.tokens)
        self.seen += n
        if not size:
            return
        # A uniform sample of all pairs so far: the chunk's share replaces random anchors.
        share = round(min(size, self.seen) * n / self.seen)
        rows = np.sort(self.rng.permutation(n)[:share])
        new = chunk.pick(rows, rows)
        view = self.distiller.look(new.lower[0], new.tokens)
        new = replace(new, codes=torch.stack([view.image_code, view.text_code], dim=1).sign())
        if self.anchors:
            kept = np.sort(self.rng.permutation(len(self.anchors.tokens))[: size - share])
            new = self.anchors.pick(kept, kept) + new
        self.anchors = new

    @torch.inference_mode()
    def database_codes(
        self, images: Sequence[Any], texts: Sequence[str], labels: Any = None
    ) -> np.ndarray:
        """*Learned* codes of pairs: the teacher's joint codes, as in online papers.

        Args:
            images, texts: the pairs.
            labels: not used; the teacher's joint code uses picture and text.

        Returns:
            uint8 ``[n, bits/8]``.

        Raises:
            DataError: there is no teacher.
        """
        if self.teacher is None:
            raise DataError(
                "learned database codes come from a teacher, and there is no teacher: give one to "
                "OnlineHasher"
            )
        joint = self.teacher.network(self.teacher.images(images), self.teacher.texts(texts))
        return pack(joint[:, : self.student.bits].cpu().numpy())


def replay_loss(
    codes: tuple[Tensor, Tensor], old: Tensor, alike: Tensor, temperatures: Temperatures
) -> Tensor:
    """InfoNCE from new codes ``[n K]`` to the anchors' codes of the other modality.

    Args:
        codes: real-valued codes of pictures and texts.
        old: the anchors' picture and text codes, ±1 ``[m 2 K]``.
        alike: ``[n m]``, 1 where they belong together; rows without a 1 are skipped.
        temperatures: of the codes.
    """
    asking = alike.sum(1) > 0
    target = alike[asking] / alike[asking].sum(1, keepdim=True)
    terms = []
    for new, given in zip(codes, old.flip(1).unbind(1), strict=True):
        signs = straight_through_sign(new[asking])
        for bits in LENGTHS:
            scale = temperatures.of_codes(bits)
            logits = scale * (signs[:, :bits] @ given[:, :bits].T / bits)
            terms.append(-(target * logits.log_softmax(1)).sum(1).mean())
    return torch.stack(terms).mean()


def positives(labels: Tensor | None, n: int) -> Tensor:
    """Float ``[n n]``, 1 for similar pairs; without labels a pair is similar only to itself."""
    if labels is None:
        return torch.eye(n)
    if labels.ndim == 1:
        return (labels[:, None] == labels).float()
    return (labels.float() @ labels.float().T + torch.eye(n) > 0).float()


def checked(images: Sequence[Any], texts: Sequence[str], labels: Any) -> Tensor | None:
    """The labels as a tensor, after a check of the lengths."""
    found = None if labels is None else torch.from_numpy(np.asarray(labels))
    lengths = [len(images), len(texts), *([] if found is None else [len(found)])]
    if len({*lengths}) > 1 or not lengths[0]:
        raise DataError(
            f"got {', '.join(map(str, lengths))} pictures, texts and labels, expected one text "
            "(and label) for each of at least one picture"
        )
    return found
