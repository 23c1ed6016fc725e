"""Evaluate on pairs with ground truth, with two common protocols."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from derefl.errors import ConfigError, DataError, needs
from derefl.reflection.learning.folders import Pair, read_pair, read_rgb, write_png
from derefl.reflection.learning.validate import float_pixels, psnr
from derefl.reflection.remover import ReflectionRemover

PROTOCOLS = ("resize32", "native8")
METRICS = ("psnr", "ssim", "input_psnr", "input_ssim")


def evaluate(
    model: ReflectionRemover,
    pairs: Iterable[Pair],
    protocol: str = "resize32",
    *,
    pictures: Path | None = None,
) -> dict[str, Any]:
    """Evaluate a model on pairs.

    ``resize32`` (DSIT, DSRNet): both pictures are resized down to multiples of 32 with Pillow's
    default filter. The output is clipped, but not rounded. PSNR and SSIM are averaged over the RGB
    channels. ``native8``: native size, output rounded to 8 bits, PSNR over RGB jointly, SSIM over
    the channel axis. SSIM is from scikit-image with default settings and data range 255.

    Args:
        model: the model, on its device.
        pairs: see :func:`~derefl.reflection.learning.folders.list_pairs`; not empty.
        protocol: one of :data:`PROTOCOLS`.
        pictures: folder for the outputs, as PNG.

    Returns:
        ``n``, ``protocol``, the means of :data:`METRICS` (PSNR in dB), and ``per_image`` with
        ``name`` and :data:`METRICS` of each picture.

    Raises:
        ConfigError: unknown protocol.
        DataError: a picture cannot be read, or the sizes of a pair differ.
        MissingExtraError: scikit-image is not installed.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(f"got protocol {protocol!r}, expected one of {', '.join(PROTOCOLS)}")
    rows: list[dict[str, Any]] = []
    for pair in pairs:
        image, truth = read_pair(pair)
        if protocol == "resize32":
            image, truth = (cut_to_32(picture, pair.name) for picture in (image, truth))
        output = clean_pixels(model, image)
        if pictures is not None:
            write_png(output, pictures / f"{pair.name}.png")
        values = 255 * output[0].permute(1, 2, 0).numpy()
        scores = [
            *psnr_and_ssim(values, truth, protocol),
            *psnr_and_ssim(image.astype(np.float64), truth, protocol),
        ]
        rows.append({"name": pair.name, **dict(zip(METRICS, scores, strict=True))})
    means = {metric: float(np.mean([row[metric] for row in rows])) for metric in METRICS}
    return {"n": len(rows), **means, "protocol": protocol, "per_image": rows}


def cut_to_32(picture: np.ndarray, name: str) -> np.ndarray:
    """Resize uint8 ``[h w 3]`` down to multiples of 32, for ``resize32``."""
    height, width = (n // 32 * 32 for n in picture.shape[:2])
    if 0 in (height, width):
        raise DataError(f"{name} is smaller than 32 pixels; use --protocol native8")
    if (height, width) == picture.shape[:2]:
        return picture
    return np.array(Image.fromarray(picture).resize((width, height)))


def evaluate_clean(model: ReflectionRemover, paths: Iterable[Path]) -> dict[str, Any]:
    """Evaluate a model on photos without a reflection, as in ``native8``.

    Returns:
        ``n``; ``psnr``, the mean PSNR of the output against the input in dB, with 60 for an
        unchanged photo; ``worst_psnr`` and ``worst``, the lowest PSNR and its file name;
        ``brightness``, the mean change in levels of 255.
    """
    names, scores, changes = [], [], []
    for path in paths:
        names.append(path.name)
        image = read_rgb(path)
        change = (255 * clean_pixels(model, image)).round() / 255 - float_pixels(image).double()
        scores.append(psnr(change, torch.zeros_like(change)))
        changes.append(255 * change.mean().item())
    worst = int(np.argmin(scores))
    return {
        "n": len(scores),
        "psnr": float(np.mean(scores)),
        "worst_psnr": scores[worst],
        "worst": names[worst],
        "brightness": float(np.mean(changes)),
    }


def clean_pixels(model: ReflectionRemover, image: np.ndarray) -> Tensor:
    """T̂ of uint8 ``[h w 3]``: float64 ``[1 3 h w]`` in [0, 1], clipped, not rounded."""
    return model.transmission(float_pixels(image)).clamp(0, 1).double()


def psnr_and_ssim(output: np.ndarray, truth: np.ndarray, protocol: str) -> tuple[float, float]:
    """The scores of an output by a protocol; both ``[h w 3]`` in [0, 255]."""
    with needs("scikit-image", "train", "evaluation"):
        from skimage.metrics import peak_signal_noise_ratio, structural_similarity
    if protocol == "native8":
        pictures = truth, output.round().astype(np.uint8)
        return (
            float(peak_signal_noise_ratio(*pictures, data_range=255)),
            float(structural_similarity(*pictures, data_range=255, channel_axis=2)),
        )
    channels = [(truth[..., c].astype(np.float64), output[..., c]) for c in range(3)]
    return (
        float(np.mean([peak_signal_noise_ratio(*pair, data_range=255) for pair in channels])),
        float(np.mean([structural_similarity(*pair, data_range=255) for pair in channels])),
    )
