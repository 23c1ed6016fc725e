"""Online learning on given features, for benchmarks without pictures or words.

The published ``.mat`` files hold features of pictures (or small pictures) and word counts, so
neither a CLIP encoder nor the text tower can be used. The learner is the rest of the student: an
adapter and a hash head per modality, trained on pairs and labels without a teacher.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from derefl.hashing.codes import BITS, check_bits, pack
from derefl.hashing.learning.losses import (
    alignment_loss,
    contrastive_loss,
    decorrelation_loss,
    nested,
    quantisation_loss,
    straight_through_sign,
)
from derefl.hashing.learning.ranking import share_label
from derefl.hashing.student import HashHead
from derefl.hashing.teacher import Adapter

WIDTH, BATCH, SCALE = 256, 128, 12.0


class FeatureLearner(nn.Module):
    """The methods of an :class:`~derefl.hashing.learning.online.OnlineHasher`, on feature vectors.

    Stored codes never change: each step also draws the codes of some earlier pairs (anchors) to the
    codes that were stored for them.

    Args:
        image_dim, text_dim: width of the features.
        bits: length of the codes.
        epochs: over each chunk.
        anchors: number of earlier pairs to keep.
        seed: of the weights, the batches and the choice of anchors.
    """

    def __init__(
        self,
        image_dim: int,
        text_dim: int,
        *,
        bits: int = 64,
        epochs: int = 10,
        anchors: int = 512,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_bits(bits)
        self.epochs, self.size = epochs, anchors
        self.lengths = [length for length in BITS if length <= bits]
        self.rng = np.random.default_rng(seed)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.image, self.text = (
                nn.Sequential(Adapter(dim, WIDTH, 0.2), HashHead(WIDTH, 0, bits))
                for dim in (image_dim, text_dim)
            )
        self.optimiser = torch.optim.AdamW(self.parameters(), 1e-3, weight_decay=0.05)
        self.anchors: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self.seen = 0
        self.eval()

    @property
    def student(self) -> "FeatureLearner":
        """The encoder of the queries."""
        return self

    def encode_image(self, images: Sequence[Any]) -> np.ndarray:
        """Codes of picture features ``[n d]``, uint8 ``[n bits/8]``."""
        return pack(self._codes(self.image, images).numpy())

    def encode_text(self, texts: Sequence[Any]) -> np.ndarray:
        """Codes of text features ``[n d]``, uint8 ``[n bits/8]``."""
        return pack(self._codes(self.text, texts).numpy())

    def database_codes(
        self, images: Sequence[Any], texts: Sequence[Any], labels: np.ndarray | None = None
    ) -> np.ndarray:
        """*Learned* codes of pairs: the signs of the mean of both codes; labels are not used."""
        return pack((self._codes(self.image, images) + self._codes(self.text, texts)).numpy())

    def partial_fit(
        self, images: Sequence[Any], texts: Sequence[Any], labels: np.ndarray | None = None
    ) -> dict[str, float]:
        """Learn from a chunk of pairs; labels define similar pairs, see ``OnlineHasher``."""
        x, y = vectors(images), vectors(texts)
        groups = np.arange(len(x)) if labels is None else labels
        steps = self.epochs * -(-len(x) // BATCH)
        total = 0.0
        self.train()
        for _ in range(steps):
            rows = self.rng.permutation(len(x))[:BATCH]
            alike = torch.from_numpy(share_label(groups[rows], groups[rows])).float()
            alike.fill_diagonal_(1)
            loss = self._loss(self.image(x[rows]), self.text(y[rows]), alike) + self._replay()
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            total += float(loss.detach()) / steps
        self.eval()
        self._keep(x, y)
        return {"loss": total}

    def _loss(self, image: Tensor, text: Tensor, alike: Tensor) -> Tensor:
        def contrast(a: Tensor, b: Tensor) -> Tensor:
            return contrastive_loss(a @ b.T / a.shape[1], alike, SCALE)

        signs = straight_through_sign(image), straight_through_sign(text)
        penalty = sum(map(decorrelation_loss, signs)) + sum(map(quantisation_loss, (image, text)))
        return nested(contrast, *signs, self.lengths) + 0.1 * penalty

    def _replay(self) -> Tensor:
        if not self.anchors:
            return torch.zeros(())
        chosen = self.rng.permutation(len(self.anchors))[:BATCH]
        x, y, image, text = map(torch.stack, zip(*(self.anchors[i] for i in chosen), strict=True))
        return alignment_loss(self.image(x), image) + alignment_loss(self.text(y), text)

    def _keep(self, x: Tensor, y: Tensor) -> None:
        """Keep a uniform sample of all pairs so far, with the codes stored for them."""
        self.seen += len(x)
        share = round(min(self.size, self.seen) * len(x) / self.seen)
        old = self.rng.permutation(len(self.anchors))[: self.size - share]
        new = self.rng.permutation(len(x))[:share]
        codes = self._codes(self.image, x[new]).sign(), self._codes(self.text, y[new]).sign()
        fresh = zip(x[new], y[new], *codes, strict=True)
        self.anchors = [*(self.anchors[i] for i in old), *fresh]

    @torch.no_grad()
    def _codes(self, head: nn.Module, features: Sequence[Any] | Tensor) -> Tensor:
        return head(vectors(features))


def vectors(features: Sequence[Any] | Tensor) -> Tensor:
    """Features as float32 ``[n d]``."""
    if isinstance(features, Tensor):
        return features
    return torch.from_numpy(np.stack(features).astype(np.float32))
