"""The LCDH student: a light image tower and a light text tower, each with an FC, and binary codes.

After "Lightweight Contrastive Distilled Hashing for Online Cross-modal Retrieval" (AAAI 2025).
``docs/hashing.md`` lists which parts are from the paper and which are our choice.
"""

from dataclasses import dataclass
from typing import Any

import timm
import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor, nn

from derefl.hashing.attention import AttentionBlock, pooled
from derefl.zoo.config_checks import NORMALISATION, check_backbone, check_numbers


@dataclass(frozen=True)
class LCDHStudentConfig:
    """Sizes of an :class:`LCDHStudent`; the defaults are those of ``lcdh-student``.

    Attributes:
        backbone: timm name of the image tower, an EfficientNet or a related network like
            MobileNetV2.
        image_size: side in pixels of the resized square picture.
        mean, std: the backbone sees (x − mean) / std of each channel, as in timm.
        vocabulary: number of word pieces, from the start of the built-in list.
        token_dim: width of the word-piece embeddings.
        text_depth, text_heads: attention blocks of the text tower; depth 0 is an ablation.
        max_tokens: longer texts are cut.
        feature_dim: width of the real-valued embedding before the hash heads.
        hash_hidden: width of the hash heads' hidden layer; 0: only the FC.
        bits: of the longest code; the first 16, 32 and 64 bits are codes as well.
    """

    backbone: str = "tf_efficientnet_lite0"
    image_size: int = 256
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    vocabulary: int = 24_000
    token_dim: int = 192
    text_depth: int = 1
    text_heads: int = 4
    max_tokens: int = 64
    feature_dim: int = 256
    hash_hidden: int = 1024
    bits: int = 128

    def __post_init__(self) -> None:
        check_backbone(self.backbone, "efficientnet")
        check_numbers(
            self,
            {
                **NORMALISATION,
                "image_size": (32, 1024),
                "vocabulary": (2, 24_000),
                "token_dim": (1, 4096),
                "text_depth": (0, 64),
                "text_heads": (1, 64),
                "max_tokens": (1, 1024),
                "feature_dim": (1, 4096),
                "hash_hidden": (0, 4096),
                "bits": (8, 1024),
            },
        )


class ImageTower(nn.Module):
    """An ImageNet backbone without its classifier, in two parts, and an FC.

    Its batch norms keep their ImageNet statistics, so that a picture's code does not depend on the
    rest of the batch. ``lower`` and ``upper`` are the two halves of the network: training stores
    the outputs of the fixed lower part and only runs the upper part.
    """

    FIXED = 6
    """Default number of backbone stages in the lower part."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: LCDHStudentConfig) -> None:
        super().__init__()
        backbone: Any = timm.create_model(config.backbone, pretrained=False, num_classes=0)
        self.backbone = backbone.to(memory_format=torch.channels_last)  # five times faster on a CPU
        self.project = nn.Linear(backbone.num_features, config.feature_dim)
        for name in ("mean", "std"):  # from the config, not from the state dict
            values = torch.tensor(getattr(config, name)).view(3, 1, 1)
            self.register_buffer(name, values, persistent=False)

    def train(self, mode: bool = True) -> "ImageTower":
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def lower(self, x: Tensor, stages: int = FIXED) -> Tensor:
        """``[b 3 s s]`` in [0, 1] → output of the first stages; of six ``[b c s/32 s/32]``."""
        x = ((x - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        return self.backbone.blocks[:stages](self.backbone.bn1(self.backbone.conv_stem(x)))

    def upper(self, x: Tensor, stages: int = FIXED) -> Tensor:
        """Output of :meth:`lower` → unit vectors ``[b feature_dim]``."""
        x = self.backbone.blocks[stages:](x.contiguous(memory_format=torch.channels_last))
        x = self.backbone.bn2(self.backbone.conv_head(x))
        return F.normalize(self.project(x.mean(dim=(2, 3))), dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """``[b 3 s s]`` in [0, 1] → unit vectors ``[b feature_dim]``."""
        return self.upper(self.lower(x))

    def of_views(self, x: Tensor) -> Tensor:
        """Views of each picture ``[b view 3 s s]`` → unit vectors ``[b feature_dim]``.

        The mean of the features of all views (our choice).
        """
        features = self(rearrange(x, "b view c h w -> (b view) c h w"))
        return F.normalize(reduce(features, "(b view) d -> b d", "mean", view=x.shape[1]), dim=-1)


class TextTower(nn.Module):
    """Static word-piece embeddings, attention, a learned weighted mean, and an FC."""

    def __init__(self, config: LCDHStudentConfig, dropout: float = 0.2) -> None:
        super().__init__()
        dim = config.token_dim
        self.embed = nn.Embedding(config.vocabulary, dim, padding_idx=0)
        self.log_weight = nn.Embedding(config.vocabulary, 1, padding_idx=0)
        self.order = nn.Conv1d(dim, dim, 3, padding=1, groups=dim)
        self.blocks = nn.ModuleList(
            AttentionBlock(dim, config.text_heads, dropout) for _ in range(config.text_depth)
        )
        self.norm = nn.LayerNorm(dim)
        self.project = nn.Linear(dim, config.feature_dim)
        nn.init.zeros_(self.order.weight)
        nn.init.zeros_(self.log_weight.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Word pieces, long ``[b n]``, 0 for padding → unit vectors ``[b feature_dim]``."""
        present = tokens != 0
        # An empty text is one padding token and gets a code like any other text.
        present = present | (torch.arange(tokens.shape[1], device=tokens.device) == 0)
        x = self.embed(tokens) * present[..., None]
        x = x + self.order(x.transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            x = block(x, present)
        x = pooled(self.norm(x), self.log_weight(tokens)[..., 0].exp(), present)
        return F.normalize(self.project(x), dim=-1)


class HashHead(nn.Module):
    """FC with a parallel hidden layer: unit vectors ``[b d]`` → codes ``[b K]`` in (−1, 1).

    The codes are real-valued, before sign. An FC alone can only split the sphere of features by
    planes; the hidden layer bends the planes (our choice).
    """

    def __init__(self, dim: int, hidden: int, bits: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, bits)
        nn.init.orthogonal_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        self.gain, self.hidden = dim**0.5, hidden
        self.bend: nn.Sequential | None = None
        if hidden:
            last = nn.Linear(hidden, bits)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.bend = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), last)

    def widened(self, hidden: int) -> "HashHead":
        """A head with a hidden layer of this width, not narrower than before, and the same codes.

        The new units have random planes and zero weight.
        """
        bits, dim = self.project.weight.shape
        wide = HashHead(dim, hidden, bits).to(self.project.weight)
        corners = wide.state_dict()
        for name, tensor in self.state_dict().items():
            corners[name][tuple(map(slice, tensor.shape))].copy_(tensor)
        return wide

    def forward(self, x: Tensor) -> Tensor:
        x = self.gain * x
        flat = self.project(x)
        return torch.tanh(flat if self.bend is None else flat + self.bend(x))


class LCDHStudent(nn.Module):
    """Both towers and their hash heads."""

    def __init__(self, config: LCDHStudentConfig) -> None:
        super().__init__()
        self.config = config
        self.image = ImageTower(config)
        self.text = TextTower(config)
        self.image_hash, self.text_hash = (
            HashHead(config.feature_dim, config.hash_hidden, config.bits) for _ in range(2)
        )

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Real-valued codes of pictures and texts.

        Args:
            images: sRGB, float ``[b 3 s s]`` in [0, 1], s = ``config.image_size``.
            tokens: word pieces, long ``[m n]``, 0 for padding.

        Returns:
            Two float tensors in (−1, 1), ``[b K]`` and ``[m K]``; their signs are the codes.
        """
        return self.image_hash(self.image(images)), self.text_hash(self.text(tokens))
