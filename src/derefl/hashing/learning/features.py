"""Views of pictures, and their features in files."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm

from derefl.errors import DataError
from derefl.files import write_file
from derefl.hashing.pictures import batches, read


def views(picture: Image.Image, count: int, rng: np.random.Generator) -> list[Image.Image]:
    """The picture, its mirror image, and crops of .65 to 1 of its sides, half of them mirrored."""
    looks = [picture, ImageOps.mirror(picture)][:count]
    while len(looks) < count:
        w, h = (max(1, int(side * rng.uniform(0.65, 1))) for side in picture.size)
        x, y = int(rng.integers(picture.width - w + 1)), int(rng.integers(picture.height - h + 1))
        crop = picture.crop((x, y, x + w, y + h))
        looks.append(ImageOps.mirror(crop) if rng.random() < 0.5 else crop)
    return looks


def encoded_views(
    encode: Callable[[list[Image.Image]], Tensor],
    pictures: Iterable[Any],
    count: int,
    *,
    progress: bool = True,
) -> Tensor:
    """``encode`` of ``count`` :func:`views` of each picture: ``[views n …]``.

    ``encode`` gets at most 32 pictures.
    """
    rng = np.random.default_rng(0)
    found = []
    parts = list(batches(pictures, 32))
    for part in tqdm(parts, unit="batch", desc="pictures", disable=not progress):
        looks = [views(read(picture), count, rng) for picture in part]
        found.append(torch.stack([encode(list(view)) for view in zip(*looks, strict=True)]))
    return torch.cat(found, dim=1)


def cached(
    path: Path, sizes: Mapping[str, tuple[int, ...]], compute: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """The tensors in a file; without the file they are computed and saved.

    Raises:
        DataError: the first dimensions of the tensors are not ``sizes``.
    """
    if not path.exists():
        write_file(path, save(compute()))
    tensors = load_file(path)
    found = {name: tuple(x.shape[: len(sizes.get(name, ()))]) for name, x in tensors.items()}
    if found != sizes:
        got, expected = (
            ", ".join(f"{name} {'×'.join(map(str, size))}" for name, size in each.items())
            for each in (found, {name: sizes[name] for name in sorted(sizes)})
        )
        raise DataError(
            f"{path} holds {got}, expected {expected}: it belongs to other data; delete the file "
            "or choose another --out"
        )
    return tensors
