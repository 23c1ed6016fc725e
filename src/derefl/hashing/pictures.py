"""Pictures as the towers take them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from derefl.errors import ImageError
from derefl.imaging.files import open_picture
from derefl.imaging.metadata import upright

Picture: TypeAlias = Image.Image | str | Path


def read(picture: Any) -> Image.Image:
    """A picture or a picture file, upright and RGB.

    Raises:
        ImageError: it is neither, or cannot be read.
    """
    if isinstance(picture, Image.Image):
        return upright(picture).convert("RGB")
    if not isinstance(picture, str | Path):
        raise ImageError(f"got a {type(picture).__name__}, expected a PIL picture or a path")
    return open_picture(picture, first_frame=True).convert("RGB")


def square(image: Image.Image, side: int) -> Image.Image:
    """Resized to ``side`` × ``side``.

    The aspect is not kept: nothing of a picture is cut off, and Flickr8k is trained that way.
    """
    # A first, quick halving while the picture is over three times too large.
    return image.resize((side, side), Image.Resampling.BICUBIC, reducing_gap=3.0)


def tensor(images: Sequence[Image.Image]) -> Tensor:
    """RGB pictures of one size: ``[n 3 h w]`` in [0, 1], channels last in memory."""
    stack = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    return stack.permute(0, 3, 1, 2).float().div(255)


def batches(items: Any, size: int) -> Iterator[Any]:
    """Slices of at most ``size``."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
