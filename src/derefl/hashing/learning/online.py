"""Learning from a stream: chunks of pairs come once, and stored codes never change.

Each step learns from pairs of the chunk and from *anchors*: a few earlier pairs with the codes that
were stored for them. The codes of new pictures and texts are trained to match the stored codes of
similar anchors, so that later queries still find earlier items.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from derefl.errors import DataError
from derefl.hashing.codes import pack
from derefl.hashing.hasher import Hasher
from derefl.hashing.learning.distil import DistilConfig, Temperatures
from derefl.hashing.learning.distiller import (
    Distiller,
    Items,
    lower_features,
    positives_of,
    tokens_of,
)
from derefl.hashing.learning.losses import LENGTHS, straight_through_sign
from derefl.hashing.pictures import listed
from derefl.hashing.teacher_pipeline import TeacherPipeline
from derefl.hashing.tokenizer import strings
from derefl.training.config import Count, Rate, Weight, Whole, check
from derefl.training.step import take_step

Values = TypeVar("Values", np.ndarray, Tensor)


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


@dataclass
class Anchors:
    """Earlier pairs; all fields have the same length n.

    Attributes:
        items: inputs of the pairs; text i belongs to picture i.
        labels: of the pairs; None if no chunk had labels.
        codes: the stored codes of pictures and texts, ±1 ``[2 n K]``.
    """

    items: Items
    labels: np.ndarray | None
    codes: Tensor


class OnlineHasher:
    """A student that learns from a stream: ``partial_fit`` for a chunk, ``student`` to encode.

    Attributes:
        student: the current student.
    """

    def __init__(
        self, student: Hasher, teaching: TeacherPipeline | None, config: OnlineConfig | None = None
    ) -> None:
        """
        Args:
            student: the initial student; is trained in place.
            teaching: the teacher; None learns from pairs and labels alone (ablation).
            config: settings.

        Raises:
            ConfigError: a setting is out of range, like a negative weight.
        """
        self.config = config or OnlineConfig()
        check(self.config)
        self.student = student
        self.teaching = teaching
        self.rng = np.random.default_rng(self.config.seed)
        self.distiller = Distiller(
            student,
            teaching.teacher if teaching else None,
            self.config.loss,
            learning_rate=self.config.learning_rate,
            tune=0.0,
            weight_decay=self.config.weight_decay,
        )
        self.anchors: Anchors | None = None
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
            DataError: the numbers of texts or labels and of pictures differ, or are 0.
            ImageError: a picture cannot be read.
        """
        images, texts = list(listed(images)), strings(texts)
        labels = checked(images, texts, labels)
        items = self.items(images, texts)
        torch.manual_seed(int(self.rng.integers(2**31)))
        self.student.train()
        steps = self.config.epochs * -(-len(images) // self.config.batch)
        totals: dict[str, float] = {}
        try:
            for step in range(steps):
                rows = self.rng.permutation(len(images))[: self.config.batch]
                rate = min(1.0, (step + 1) / 10) * (1 - 0.9 * step / steps)
                for name, value in self.step(items, labels, rows, rate).items():
                    totals[name] = totals.get(name, 0.0) + value / steps
        finally:
            self.student.eval()
            self.student.learned()
        self.keep(items, labels)
        return totals

    def step(
        self, items: Items, labels: np.ndarray | None, rows: np.ndarray, rate: float
    ) -> dict[str, float]:
        """One step on these pairs of the chunk and as many anchors."""
        view, n = int(self.rng.integers(2)), len(rows)
        batch, batch_labels = taken(items, rows), at(labels, rows)
        anchors = self.anchors if self.config.anchors and self.config.replay else None
        if anchors is not None:
            old = self.rng.permutation(len(anchors.items.tokens))[:n]
            batch = together(batch, taken(anchors.items, old))
            batch_labels = joined(batch_labels, at(anchors.labels, old))
        everything = np.arange(len(batch.tokens))
        alike = positives(batch_labels, len(everything)).to(batch.lower.device)
        loss, terms, seen = self.distiller.loss(batch, everything, everything, alike, view)
        if anchors is not None:
            codes, alike = (seen.image_code, seen.text_code), alike[:, n:]
            temperatures = self.distiller.module.temperatures
            replayed = replay_loss(codes, anchors.codes[:, old], alike, temperatures)
            loss = loss + self.config.replay * replayed
        norm = take_step(self.distiller.optimiser, loss, rate)
        return {"loss": float(loss.detach()), "norm": float(norm), **terms}

    def items(self, images: Sequence[Any], texts: Sequence[str]) -> Items:
        """The fixed inputs of a chunk."""
        return Items(
            lower_features(self.student, images),
            tokens_of(self.student, texts),
            self.teaching.images(images) if self.teaching else None,
            self.teaching.texts(texts) if self.teaching else None,
        )

    @torch.no_grad()
    def keep(self, items: Items, labels: np.ndarray | None) -> None:
        """Add some pairs of the chunk to the anchors, with their current codes."""
        size, n = self.config.anchors, len(items.tokens)
        self.seen += n
        if not size:
            return
        # A uniform sample of all pairs so far: the chunk's share replaces random anchors.
        share = round(min(size, self.seen) * n / self.seen)
        rows = np.sort(self.rng.permutation(n)[:share])
        chosen, labels = taken(items, rows), at(labels, rows)
        view = self.distiller.look(chosen.lower[0], chosen.tokens)
        codes = torch.stack([view.image_code, view.text_code]).sign()
        if (old := self.anchors) is not None:
            kept = np.sort(self.rng.permutation(len(old.items.tokens))[: size - share])
            chosen = together(taken(old.items, kept), chosen)
            labels = joined(at(old.labels, kept), labels)
            codes = torch.cat([old.codes[:, kept], codes], dim=1)
        self.anchors = Anchors(chosen, labels, codes)

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
        if self.teaching is None:
            raise DataError("learned database codes are the teacher's, and there is none here")
        joint = self.teaching.teacher(self.teaching.images(images), self.teaching.texts(texts))
        return pack(joint[:, : self.student.bits].cpu().numpy())


def replay_loss(
    codes: tuple[Tensor, Tensor], old: Tensor, alike: Tensor, temperatures: Temperatures
) -> Tensor:
    """InfoNCE from new codes ``[n K]`` to the anchors' codes ``[m K]`` of the other modality.

    Args:
        codes: real-valued codes of pictures and texts.
        old: the anchors' picture and text codes, ±1 ``[2 m K]``.
        alike: ``[n m]``, 1 where they belong together; rows without a 1 are skipped.
        temperatures: of the codes.
    """
    asking = alike.sum(1) > 0
    target = alike[asking] / alike[asking].sum(1, keepdim=True)
    terms = []
    for new, given in zip(codes, old.flip(0), strict=True):
        signs = straight_through_sign(new[asking])
        for bits in LENGTHS:
            scale = temperatures.of_codes(bits)
            logits = scale * (signs[:, :bits] @ given[:, :bits].T / bits)
            terms.append(-(target * logits.log_softmax(1)).sum(1).mean())
    return torch.stack(terms).mean()


def positives(labels: np.ndarray | None, n: int) -> Tensor:
    """Float ``[n n]``, 1 for similar pairs; without labels a pair is similar only to itself."""
    if labels is None:
        return torch.eye(n)
    if labels.ndim == 1:
        return positives_of(labels)
    shared = torch.from_numpy((labels.astype(np.float32) @ labels.T.astype(np.float32)) > 0)
    return (shared | torch.eye(n, dtype=torch.bool)).float()


def at(values: Values | None, rows: np.ndarray) -> Values | None:
    """These rows, if there are values."""
    return None if values is None else values[rows]


def joined(a: Values | None, b: Values | None) -> Values | None:
    """The rows of both; None if one is None."""
    if a is None or b is None:
        return None
    return torch.cat([a, b]) if isinstance(a, Tensor) else np.concatenate([a, b])


def taken(items: Items, rows: np.ndarray) -> Items:
    """These pairs only."""
    return Items(
        items.lower[:, rows],
        [items.tokens[i] for i in rows],
        at(items.teacher_image, rows),
        at(items.teacher_text, rows),
    )


def together(a: Items, b: Items) -> Items:
    """The pairs of both."""
    return Items(
        torch.cat([a.lower, b.lower], dim=1),
        [*a.tokens, *b.tokens],
        joined(a.teacher_image, b.teacher_image),
        joined(a.teacher_text, b.teacher_text),
    )


def checked(images: Sequence[Any], texts: Sequence[str], labels: Any) -> np.ndarray | None:
    """The labels as an array, after a check of the lengths."""
    array = None if labels is None else np.asarray(labels)
    lengths = [len(images), len(texts), *([] if array is None else [len(array)])]
    if len({*lengths}) > 1 or not lengths[0]:
        raise DataError(
            f"got {', '.join(map(str, lengths))} pictures, texts and labels, expected one text "
            "(and label) for each of at least one picture"
        )
    return array
