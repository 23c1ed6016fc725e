"""The LCDH teacher: fusion of both modalities, attention, an FC, and codes with similarities.

After "Lightweight Contrastive Distilled Hashing for Online Cross-modal Retrieval" (AAAI 2025).
``docs/hashing.md`` lists which parts are from the paper and which are our choice.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from derefl.hashing.attention import AttentionBlock
from derefl.zoo.config_checks import check_numbers


@dataclass(frozen=True)
class LCDHTeacherConfig:
    """Sizes of an :class:`LCDHTeacher`; the defaults are those of ``lcdh-teacher``.

    Attributes:
        encoder: name of the encoder, see :func:`~derefl.hashing.encoders.load_encoder`.
        image_dim, text_dim: width of the encoder's features.
        dim: width of the joint space.
        attention: whether the two tokens attend to each other; False is an ablation.
        heads: of the attention.
        dropout: of the adapters, in training.
        bits: of the longest code; its prefixes are codes as well.
    """

    encoder: str = "stand-in"
    image_dim: int = 1280
    text_dim: int = 384
    dim: int = 512
    attention: bool = True
    heads: int = 8
    dropout: float = 0.2
    bits: int = 128

    def __post_init__(self) -> None:
        check_numbers(
            self,
            {
                "image_dim": (1, 65_536),
                "text_dim": (1, 65_536),
                "dim": (1, 8192),
                "heads": (1, 64),
                "bits": (8, 1024),
            },
        )


class Adapter(nn.Module):
    """From an encoder's features to the joint space: a small MLP, normalised to unit length."""

    def __init__(self, features: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.layers = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(features, 2 * dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * dim, dim),
        )
        self.skip = nn.Linear(features, dim)

    def forward(self, x: Tensor) -> Tensor:
        """``[b features]`` → unit vectors ``[b dim]``."""
        x = self.norm(x)
        return F.normalize(self.layers(x) + self.skip(x), dim=-1)


class LCDHTeacher(nn.Module):
    """Features of a CLIP-like encoder → fusion → attention → FC → K bits."""

    def __init__(self, config: LCDHTeacherConfig) -> None:
        super().__init__()
        self.config = config
        self.image = Adapter(config.image_dim, config.dim, config.dropout)
        self.text = Adapter(config.text_dim, config.dim, config.dropout)
        self.modality = nn.Parameter(torch.zeros(2, config.dim))
        self.attention = AttentionBlock(config.dim, config.heads) if config.attention else None
        self.norm = nn.LayerNorm(config.dim)
        self.project = nn.Linear(2 * config.dim, config.bits)
        nn.init.orthogonal_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        self.gain = config.dim**0.5

    def forward(self, image: Tensor | None = None, text: Tensor | None = None) -> Tensor:
        """Real-valued codes in (−1, 1), ``[b K]``, of pairs, pictures or texts.

        Args:
            image, text: unit vectors ``[b dim]`` of the adapters, ``teacher.image(features)`` and
                ``teacher.text(features)``. With both, the code is joint. With one, the code is
                unimodal: the other token is masked in the attention and zero in the concatenation.
        """
        given = [(i, z) for i, z in enumerate((image, text)) if z is not None]
        if not given:
            raise ValueError("got neither image nor text, expected at least one")
        # No token attends to a masked token, so the masked token can be dropped.
        places = [i for i, _ in given]
        x = self.gain * torch.stack([z for _, z in given], dim=1) + self.modality[places]
        if self.attention is not None:
            x = self.attention(x, torch.ones(x.shape[:2], dtype=torch.bool, device=x.device))
        x = self.norm(x)
        both = x.new_zeros(len(x), 2, x.shape[2])
        both[:, places] = x
        return torch.tanh(self.project(both.flatten(1)))
