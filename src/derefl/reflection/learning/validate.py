"""Validation on held-back pairs during training, with pictures to look at."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from derefl.files import atomic_path
from derefl.reflection.learning.pairs import Pairs
from derefl.reflection.model import DeRefl


@torch.inference_mode()
def validate(model: DeRefl, pairs: Pairs, sheet: Path, rows: int = 8) -> dict[str, float]:
    """Mean PSNR in dB of input and output on the held-back real and synthetic pairs.

    Also writes a sheet of I | T̂ | T | R̂_low + R̂_high (grey is zero), ``rows`` pairs of it.
    """
    device = next(model.parameters()).device
    scores: dict[str, list[float]] = {}
    strips: list[np.ndarray] = []
    for index, (kind, image, truth) in enumerate(pairs.validation()):
        layers = model(image.to(device))
        estimate = layers.transmission.clamp(0, 1).cpu().float()
        scores.setdefault(f"{kind}_psnr", []).append(psnr(estimate, truth))
        scores.setdefault(f"{kind}_input", []).append(psnr(image, truth))
        if index % 4 == 0 and len(strips) < rows:
            residual = (layers.residual_low + layers.residual_high).cpu().float() + 0.5
            strips.append(strip([image, estimate, truth, residual.clamp(0, 1)]))
    with atomic_path(sheet) as temporary:
        Image.fromarray(np.concatenate(strips)).save(temporary)
    return {name: round(float(np.mean(values)), 3) for name, values in scores.items()}


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
