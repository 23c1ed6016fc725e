"""DeRefl: the dual-stream network that separates a picture into T, R_low and R_high.

After "Single Image Reflection Removal via inter-layer Complementarity" (arXiv 2505.12641 v1).
``docs/reflection.md`` lists which parts are from the paper and which parts are our choice.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import timm
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from derefl.errors import ConfigError
from derefl.reflection.attention import REORGANISE, DualStreamBlock
from derefl.reflection.frequency import HighFrequencyBlock, pixels_from_tokens
from derefl.zoo.config_checks import NORMALISATION, check_backbone, check_numbers

MULTIPLE = 32
"""Height and width are padded to a multiple of this number, the stride of the deepest feature."""

SMALLEST = 16
"""Smallest height and width of the input in pixels."""


@dataclass(frozen=True)
class DeReflConfig:
    """Sizes of a :class:`DeRefl`; the defaults are ``derefl-base``.

    Attributes:
        backbone: timm name of a backbone with features at strides 2, 4, 8, 16, 32.
        dims: width of each stream at each stride; even.
        depths: number of dual-stream blocks at each stride.
        windows: side of the attention windows at each stride, in tokens; 0 means no attention.
        head_dim: width of an attention head. If it does not divide the stream's width, the greatest
            common divisor is used.
        mean_kernel: width of the mean filter M in pixels; odd.
        reorganise: ``half``, ``interleave`` or ``none``.
        mean, std: the backbone sees (x − mean) / std of each channel, as in timm.
    """

    backbone: str = "tf_efficientnet_lite2"
    dims: tuple[int, ...] = (32, 64, 128, 192, 256)
    depths: tuple[int, ...] = (2, 3, 4, 4, 2)
    windows: tuple[int, ...] = (0, 0, 8, 8, 8)
    head_dim: int = 32
    mean_kernel: int = 11
    reorganise: str = "half"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        check_backbone(self.backbone)
        check_numbers(
            self,
            {
                **NORMALISATION,
                "dims": (2, 4096),
                "depths": (0, 64),
                "windows": (0, 32),
                "head_dim": (1, 4096),
                "mean_kernel": (1, 255),
            },
        )
        if any(dim % 2 for dim in self.dims) or self.mean_kernel % 2 == 0:
            raise ConfigError(
                f"got dims={list(self.dims)} and mean_kernel={self.mean_kernel}, expected even "
                "dims and an odd mean_kernel"
            )
        if self.reorganise not in REORGANISE:
            raise ConfigError(
                f"got reorganise={self.reorganise!r:.60}, expected one of {', '.join(REORGANISE)}"
            )


class Layers(NamedTuple):
    """Output of :class:`DeRefl`; each float ``[b 3 h w]``. T̂ ≈ [0, 1], the residuals are signed."""

    transmission: Tensor
    residual_low: Tensor
    residual_high: Tensor


class Backbone(nn.Module):
    """A timm feature pyramid whose batch norms keep their ImageNet statistics.

    A training step has too few crops to estimate statistics. With fixed statistics, a result also
    does not depend on the other pictures in the batch.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: DeReflConfig) -> None:
        super().__init__()
        name = config.backbone
        features: Any = timm.create_model(name, pretrained=False, features_only=True)
        if features.feature_info.reduction() != [2, 4, 8, 16, 32]:
            raise ConfigError(
                f"got backbone={name!r}, expected a backbone with features at strides 2, 4, 8, 16 "
                "and 32, for example 'tf_efficientnet_lite2' or 'resnet18'"
            )
        self.channels: list[int] = features.feature_info.channels()
        self.features = features
        for part in ("mean", "std"):  # from the config, not from the state dict
            value = torch.tensor(getattr(config, part)).view(3, 1, 1)
            self.register_buffer(part, value, persistent=False)

    def train(self, mode: bool = True) -> "Backbone":
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, x: Tensor) -> list[Tensor]:
        """``[b 3 h w]`` in [0, 1] to five features ``[b h/s w/s c]``, s = 2, 4, 8, 16, 32."""
        x = ((x - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        return [rearrange(f, "b c h w -> b h w c") for f in self.features(x)]


class Level(nn.Module):
    """One resolution of the decoder: add the shared feature to both streams and run the blocks."""

    def __init__(self, config: DeReflConfig, *, index: int, channels: int) -> None:
        super().__init__()
        dim = config.dims[index]
        self.enter_t = nn.Linear(channels, dim)
        self.enter_r = nn.Linear(channels, dim)
        deeper = config.dims[index + 1] if index + 1 < len(config.dims) else 0
        self.up_t = nn.Linear(deeper, dim) if deeper else None
        self.up_r = nn.Linear(deeper, dim) if deeper else None
        self.blocks = nn.ModuleList(
            DualStreamBlock(
                dim,
                head_dim=config.head_dim,
                window=config.windows[index],
                shift=i % 2 == 1,
                mode=config.reorganise,
            )
            for i in range(config.depths[index])
        )

    def forward(
        self, feature: Tensor, deeper: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """``feature [b h w c]`` and two deeper streams ``[b h/2 w/2 d]`` to two ``[b h w dim]``."""
        t, r = self.enter_t(feature), self.enter_r(feature)
        if deeper is not None and self.up_t is not None and self.up_r is not None:
            t = t + upsample(self.up_t(deeper[0]))
            r = r + upsample(self.up_r(deeper[1]))
        for block in self.blocks:
            t, r = block(t, r)
        return t, r


class Head(nn.Module):
    """A signed picture at full resolution from a stream at half resolution; initially near 0."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.project = nn.Linear(dim, 12)
        nn.init.normal_(self.project.weight, std=1e-3)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``[b h w c] -> [b 3 2h 2w]``."""
        return pixels_from_tokens(self.project(self.norm(x)))


class DeRefl(nn.Module):
    """F and G of the paper with a small ImageNet backbone.

    The backbone's five features enter a transmission stream and a residual stream. Dual-stream
    blocks (F) process both streams from stride 32 to stride 2. Heads give a first T̂ and R̂_low. G
    predicts R̂_high from them and modulates both streams. Heads then give the final T̂ and R̂_low.
    """

    def __init__(self, config: DeReflConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.stem = nn.Conv2d(12, config.dims[0], 3, padding=1, padding_mode="replicate")
        channels = list(self.backbone.channels)
        channels[0] += config.dims[0]
        self.levels = nn.ModuleList(
            Level(config, index=index, channels=count) for index, count in enumerate(channels)
        )
        self.first_t, self.first_r = Head(config.dims[0]), Head(config.dims[0])
        self.high_frequency = HighFrequencyBlock(config.dims[0])
        self.refine = DualStreamBlock(config.dims[0])
        self.last_t, self.last_r = Head(config.dims[0]), Head(config.dims[0])

    def forward(self, x: Tensor) -> Layers:
        """Separate a batch of pictures.

        Args:
            x: sRGB, float ``[b 3 h w]`` in [0, 1], h and w ≥ 16.

        Returns:
            :class:`Layers` with the size of x. T̂ is not clipped.
        """
        h, w = x.shape[2:]
        top, left = -h % MULTIPLE // 2, -w % MULTIPLE // 2
        bottom, right = -h % MULTIPLE - top, -w % MULTIPLE - left
        layers = self.separate_padded(F.pad(x, (left, right, top, bottom), mode="reflect"))
        return Layers(*(y[:, :, top : top + h, left : left + w] for y in layers))

    def separate_padded(self, x: Tensor) -> Layers:
        """:meth:`forward` for sides that are multiples of 32."""
        features = self.backbone(x)
        stem = F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
        stem = rearrange(self.stem(stem), "b c h w -> b h w c")
        features[0] = torch.cat([features[0], stem], dim=-1)
        streams = None
        for level, feature in zip(reversed(self.levels), reversed(features), strict=True):
            streams = level(feature, streams)
        assert streams is not None
        t, r = streams
        high, t, r = self.high_frequency(x - self.first_t(t), self.first_r(r), t, r)
        t, r = self.refine(t, r)
        return Layers(x - self.last_t(t), self.last_r(r), high)


def upsample(x: Tensor) -> Tensor:
    """Double height and width, bilinear: ``[b h w c] -> [b 2h 2w c]``."""
    x = F.interpolate(
        rearrange(x, "b h w c -> b c h w"), scale_factor=2, mode="bilinear", align_corners=False
    )
    return rearrange(x, "b c h w -> b h w c")
