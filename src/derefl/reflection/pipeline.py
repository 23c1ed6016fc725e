"""What a user calls: pictures in, pictures without their reflections out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast, overload

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from derefl.errors import ImageError
from derefl.imaging.metadata import upright
from derefl.imaging.tensors import from_tensor, to_tensor
from derefl.reflection.model import SMALLEST, DeRefl, DeReflConfig
from derefl.zoo import load_model

HALVED_FROM = 128
"""Shorter side in pixels from which a picture is looked at in half its size too."""


class Separation(NamedTuple):
    """A photo taken apart.

    Attributes:
        transmission: the scene behind the glass, what ``dereflect`` returns.
        reflection: what was taken away, clip(I − T̂, 0, 1). The network's residual is signed, for
            it also brightens; a picture shows only what it darkened (our choice).
    """

    transmission: Image.Image
    reflection: Image.Image


class ReflectionRemover(DeRefl):
    """A :class:`~derefl.reflection.model.DeRefl` that also takes and returns PIL pictures.

    It keeps nothing of a picture, so several threads may share it. Called with a tensor it is the
    plain network.
    """

    @overload
    def dereflect(self, images: Image.Image) -> Image.Image: ...
    @overload
    def dereflect(self, images: Sequence[Image.Image]) -> list[Image.Image]: ...

    def dereflect(
        self, images: Image.Image | Sequence[Image.Image]
    ) -> Image.Image | list[Image.Image]:
        """Remove the reflections from a photo, or from each photo of a list.

        Args:
            images: a PIL picture or a list of them, of any size from 1×1 and of mode 1, L, LA, P,
                RGB, RGBA, CMYK, I;16 or I.

        Returns:
            A picture, or a list as long, of the same size and mode, with the alpha, ICC profile,
            EXIF and other ``info`` of the input. One whose EXIF says that it is rotated comes back
            with its pixels turned upright and EXIF saying so; width and height may then swap.
            :func:`~derefl.imaging.tensors.from_tensor` says what becomes of each mode.

        Raises:
            ImageError: not a PIL picture, damaged, of another mode, or the network overflowed.
        """
        if isinstance(images, list | tuple):
            return [self._separate(image).transmission for image in images]
        return self._separate(images).transmission

    @overload
    def separate(self, images: Image.Image) -> Separation: ...
    @overload
    def separate(self, images: Sequence[Image.Image]) -> list[Separation]: ...

    def separate(
        self, images: Image.Image | Sequence[Image.Image]
    ) -> Separation | list[Separation]:
        """Like :meth:`dereflect`, returning the reflection too: one :class:`Separation` a photo."""
        if isinstance(images, list | tuple):
            return [self._separate(image) for image in images]
        return self._separate(images)

    def _separate(self, image: Any) -> Separation:
        if not isinstance(image, Image.Image):
            raise ImageError(not_a_picture(image))
        image = upright(image)
        pixels = to_tensor(image)
        clean = self.transmission(pixels).clamp(0, 1)
        return Separation(from_tensor(clean, image), from_tensor(pixels - clean, image))

    @torch.inference_mode()
    def transmission(self, pixels: Tensor) -> Tensor:
        """T̂ of pictures of any size, float32 ``[b 3 h w]`` in [0, 1], not clipped.

        The network looks at a picture at its own and at half its size, where a reflection is seen
        as a whole, and the two changes are averaged (our choice: +0.2 dB on held-back real pairs
        for a quarter more time). What it changed is added to the picture itself, so that half
        precision rounds the change but never the picture.

        Raises:
            ImageError: the network overflowed.
        """
        h, w = pixels.shape[2:]
        change = self._change(pixels)
        if min(h, w) >= HALVED_FROM:
            half = F.interpolate(pixels, (h // 2, w // 2), mode="bilinear", antialias=True)
            small = F.interpolate(self._change(half), (h, w), mode="bicubic")
            change = (change + small) / 2
        return pixels + change

    def _change(self, pixels: Tensor) -> Tensor:
        """T̂ − I at this size, float32 ``[b 3 h w]``."""
        h, w = pixels.shape[2:]
        weight = next(self.parameters())
        x = F.pad(pixels, (0, max(0, SMALLEST - w), 0, max(0, SMALLEST - h)), mode="replicate")
        x = x.to(weight.device, weight.dtype)
        change = (self(x).transmission - x)[:, :, :h, :w].to(pixels)
        if not change.isfinite().all():
            raise ImageError(
                f"the network overflowed in {weight.dtype} on a picture of {w}×{h} pixels; load "
                "the model with dtype=torch.float32"
            )
        return change


def load_derefl(
    source: str | Path = "derefl-small",
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> ReflectionRemover:
    """Load a model that removes reflections, ready to use.

    Args:
        source: a name that ``derefl models`` lists, a ``.safetensors`` file, a folder, or a Hub
            repo id ``org/name``.
        revision, cache_dir, token, local_files_only, force_download: as in huggingface_hub; of no
            effect on weights that are already here.
        device: where the model computes, for example ``"cuda"``; None is the CPU.
        dtype: of its weights, for example ``"float16"``; None is float32.

    Raises:
        ModelNotFoundError: no such name, file, folder or repo.
        DownloadError: the Hub cannot be reached, or refuses.
        CheckpointError: the weights are damaged or of another architecture.
        ConfigError: there is no such device or dtype.
    """
    model = load_model(
        source,
        kind="derefl",
        build=lambda config: ReflectionRemover(DeReflConfig(**config)),
        revision=revision,
        cache_dir=cache_dir,
        token=token,
        local_files_only=local_files_only,
        force_download=force_download,
        device=device,
        dtype=dtype,
    )
    return cast(ReflectionRemover, model)


def not_a_picture(image: Any) -> str:
    """What to type instead of something that is no PIL picture."""
    if isinstance(image, Tensor):
        hint = "call model(x) on tensors"
    elif isinstance(image, str | Path):
        hint = f"open it first: Image.open({str(image)!r})"
    elif hasattr(image, "__array_interface__"):
        hint = "make a picture of it first: Image.fromarray(array)"
    else:
        hint = 'pass a picture, for example Image.open("window.jpg"), or a list of them'
    return f"got a {type(image).__name__}, expected a PIL picture; {hint}"
