"""Large pairs with known ground truth, and scores for each ``detail``."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from derefl.errors import DataError
from derefl.imaging.tensors import to_rgb, to_tensor
from derefl.reflection.learning.folders import list_pictures, write_png
from derefl.reflection.learning.synthesis import SynthesisConfig, synthesise
from derefl.reflection.learning.validate import psnr
from derefl.reflection.remover import ReflectionRemover
from derefl.reflection.tiling.any_size import changes
from derefl.reflection.tiling.row_reader import RowReader

DEFOCUS = 8
"""Every second reflected photo loses details smaller than this number of pixels. The synthesis
blurs by only a few pixels, which is hardly visible in a large photo."""


class LargePair(NamedTuple):
    """A photo taken through glass and the scene behind it, float32 ``[1 3 h w]`` in [0, 1]."""

    name: str
    image: Tensor
    truth: Tensor


def large_pairs(folder: Path, megapixels: float, limit: int | None = None) -> Iterator[LargePair]:
    """Pairs from a folder's photos, each photo once as the scene; the same pairs in every run.

    Args:
        folder: folder with at least two photos.
        megapixels: size of the pairs; the reflected photo is cropped to the shape of the scene.
        limit: maximum number of pairs.

    Raises:
        DataError: fewer than two photos.
    """
    paths = list_pictures(folder)
    if len(paths) < 2:
        raise DataError(f"got {len(paths)} pictures in {folder}, expected at least two photos")
    for index, path in enumerate(paths[:limit]):
        with Image.open(path) as file:
            scale = (megapixels * 1e6 / (file.width * file.height)) ** 0.5
            size = round(file.width * scale), round(file.height * scale)
        truth = read_fitted(path, size)
        # Not the next photo, because neighbours often show the same scene.
        other = read_fitted(paths[(index + max(1, len(paths) // 3)) % len(paths)], size)
        if index % 2:
            coarse = (size[1] // DEFOCUS, size[0] // DEFOCUS)
            small = F.interpolate(other, coarse, mode="bilinear", antialias=True)
            other = F.interpolate(small, truth.shape[2:], mode="bicubic").clamp(0, 1)
        rng = np.random.default_rng(index)
        image = synthesise(truth[0], other[0], rng, SynthesisConfig(clean=0))[None]
        yield LargePair(path.stem, image, truth)


def read_fitted(path: Path, size: tuple[int, int]) -> Tensor:
    """A photo scaled and cropped to width and height, ``[1 3 h w]``."""
    with Image.open(path) as file:
        return to_tensor(ImageOps.fit(to_rgb(file), size, Image.Resampling.LANCZOS))


def detail_scores(
    model: ReflectionRemover, pair: LargePair, out: Path | None = None
) -> dict[str, float]:
    """PSNR in dB of the input and of each ``detail`` against the truth.

    ``auto:full`` is the PSNR between both results.

    Args:
        out: folder for the pictures, as PNG.
    """
    auto, full = (
        model.transmission(pair.image, detail=detail).clamp(0, 1) for detail in ("auto", "full")
    )
    if out is not None:
        parts = {"input": pair.image, "truth": pair.truth, "auto": auto, "full": full}
        for part, pixels in parts.items():
            write_png(pixels, out / f"{pair.name}.{part}.png")
    return {
        "input": psnr(pair.image, pair.truth),
        "auto": psnr(auto, pair.truth),
        "full": psnr(full, pair.truth),
        "auto:full": psnr(auto, full, most=120),
    }


@torch.inference_mode()
def seams(model: ReflectionRemover, pair: LargePair, out: Path | None = None) -> dict[str, float]:
    """Difference between ``full`` in tiles of 1024 pixels and ``full`` in one piece, in 255ths.

    Args:
        out: folder for a picture of the difference, amplified 8 times around grey, as PNG.
    """
    rows = RowReader.of_tensor(pair.image)
    tiled, whole = (
        torch.cat([change for _, _, change in changes(model._one_pass, rows, "full", side)], dim=2)
        for side in (1024, 2**20)
    )
    difference = tiled - whole
    if out is not None:
        write_png(8 * difference + 0.5, out / f"{pair.name}.seams.png")
    levels = difference.abs() * 255
    return {"mean": levels.mean().item(), "worst": levels.max().item()}
