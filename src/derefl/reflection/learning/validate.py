"""Validation on what training holds back, with pictures to look at."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from derefl.files import atomic_file
from derefl.reflection.learning.pairs import Pairs
from derefl.reflection.model import DeRefl


@torch.inference_mode()
def held_back_scores(estimate: Callable[[Tensor], Tensor], pairs: Pairs) -> dict[str, float]:
    """Mean PSNR in dB on the pictures that training holds back, the higher the better.

    Args:
        estimate: T̂ of I, both float ``[1 3 h w]`` on the CPU.
        pairs: gives the pictures, see :meth:`~derefl.reflection.learning.pairs.Pairs.validation`.

    Returns:
        ``KIND_psnr`` of T̂ against T for each kind of picture, and ``KIND_input`` of I against T.
    """
    scores: dict[str, list[float]] = {}
    for kind, image, truth in pairs.validation():
        scores.setdefault(f"{kind}_psnr", []).append(psnr(estimate(image).clamp(0, 1), truth))
        scores.setdefault(f"{kind}_input", []).append(psnr(image, truth))
    return {name: round(float(np.mean(values)), 3) for name, values in scores.items()}


@torch.inference_mode()
def validate(model: DeRefl, pairs: Pairs, sheet: Path, rows: int = 8) -> dict[str, float]:
    """:func:`held_back_scores` of the network at one size, and a sheet to look at.

    The sheet has I | T̂ | T | R̂_low + R̂_high (grey is zero), ``rows`` pictures, every fourth.
    """
    device = next(model.parameters()).device
    strips: list[np.ndarray] = []
    for _, image, truth in itertools.islice(pairs.validation(), 0, 4 * rows, 4):
        estimate, low, high = (layer.cpu().float() for layer in model(image.to(device)))
        strips.append(strip([image, estimate.clamp(0, 1), truth, (low + high + 0.5).clamp(0, 1)]))
    with atomic_file(sheet) as file:
        Image.fromarray(np.concatenate(strips)).save(file, "PNG")
    return held_back_scores(lambda x: model(x.to(device)).transmission.cpu().float(), pairs)


def psnr(a: Tensor, b: Tensor, most: float = 60.0) -> float:
    """Peak signal-to-noise ratio in dB over all values, peak 1; at most ``most``."""
    return float(-10 * torch.log10((a - b).square().mean().clamp_min(10 ** (-most / 10))))


def strip(pictures: list[Tensor], height: int = 192) -> np.ndarray:
    """Pictures ``[1 3 h w]`` side by side, uint8 ``[height n·height 3]``, each in a square."""
    out = []
    for picture in pictures:
        array = (picture[0] * 255).round().byte().permute(1, 2, 0).numpy()
        canvas = Image.new("RGB", (height, height))
        image = Image.fromarray(array)
        image.thumbnail((height, height))
        canvas.paste(image)
        out.append(np.asarray(canvas))
    return np.concatenate(out, axis=1)
