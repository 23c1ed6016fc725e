"""Validation: scores by kind of picture, with standard errors, and a sheet of pictures."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from derefl.reflection.amount import amount
from derefl.reflection.learning.folders import (
    list_pairs,
    list_pictures,
    read_pair,
    read_rgb,
    write_png,
)
from derefl.reflection.learning.pairs import by_scene
from derefl.reflection.learning.synthesis import clipped, gaussian, linear_light, screen
from derefl.reflection.model import DeRefl

BLOCK = 16
"""Side in pixels of the blocks whose means are the low band of an error."""

SIDE = 256
"""Side in pixels of a synthetic picture."""

PHOTOS = 4
"""Of this number of held-back photographs, one is a layer of synthetic pictures, and one is
``clean``."""

STRENGTHS = (10, 15, 20, 25, 30)
"""Class limits for the PSNR in dB of a synthetic input."""

FALSE_ALARMS = (0.05, 0.1, 0.2)
"""Shares of the photos without a reflection for the thresholds of :func:`roc`."""

Measured: TypeAlias = dict[str, list[tuple[str, dict[str, float]]]]


class Sample(NamedTuple):
    """One validation picture: its kind, its scene, I and T, float ``[1 3 h w]`` in [0, 1]."""

    kind: str
    scene: str
    image: Tensor
    truth: Tensor


def samples(folders: Mapping[str, Path], photos: Sequence[Path] = ()) -> Iterator[Sample]:
    """The validation pictures, the same in every run.

    Args:
        folders: name to folder; folders of pairs, or of photographs without a reflection.
        photos: photographs that training does not use, for the layers of synthetic pairs, and for
            the kinds ``clean``, ``blurred_2`` and ``blurred_5`` (σ in pixels) with T = I.
    """
    for name, folder in folders.items():
        if has_pairs(folder):
            scenes = by_scene(list_pairs(folder))
            for scene, pairs in scenes.items():
                for pair in pairs:
                    image, truth = map(float_pixels, read_pair(pair))
                    yield Sample(name, Path(scene).name, image, truth)
        else:
            for path in list_pictures(folder):
                photo = float_pixels(read_rgb(path))
                yield Sample(name, path.name, photo, photo)
    yield from synthetic(photos)
    for path in photos[1::PHOTOS]:
        photo = float_pixels(read_rgb(path))
        yield Sample("clean", path.name, photo, photo)
        for sigma in (2, 5):
            soft = gaussian(photo[0], 33, sigma)[None]
            yield Sample(f"blurred_{sigma}", path.name, soft, soft)


def has_pairs(folder: Path) -> bool:
    """Whether a folder holds pairs; otherwise it holds photographs without a reflection."""
    return (folder / "blended").is_dir()


def synthetic(photos: Sequence[Path]) -> Iterator[Sample]:
    """Synthetic mixtures of neighbouring photographs at full strength, :data:`SIDE` pixels square.

    ``screen``: :func:`~derefl.reflection.learning.synthesis.screen` with a blurred reflection, the
    usual task in the literature. ``10-15`` … ``25-30``: all recipes, blurred and sharp reflections,
    grouped by the PSNR of the input.
    """
    layers = photos[::PHOTOS]
    if len(layers) < 2:  # no photo is a reflection over itself
        layers = photos if len(photos) > 1 else []
    for i, path in enumerate(layers):
        t, r = (square(p, SIDE) for p in (path, layers[(i + 1) % len(layers)]))
        for j, (recipe, sigma) in enumerate(
            ((screen, 4.0), (screen, 0.0), (clipped, 2.0), (linear_light, 1.0), (linear_light, 4.0))
        ):
            rng = np.random.default_rng([20250512, i, j])
            image = recipe(t, gaussian(r, 11, sigma) if sigma else r, rng).clamp(0, 1)[None]
            if j == 0:
                yield Sample("screen", path.name, image, t[None])
            quality = psnr(image, t[None])
            for low, high in pairwise(STRENGTHS):
                if low <= quality < high:
                    yield Sample(f"{low}-{high}", path.name, image, t[None])


def square(path: Path, side: int) -> Tensor:
    """The centre of a picture, ``[3 side side]``."""
    picture = read_rgb(path)
    h, w = picture.shape[:2]
    y, x = (h - min(h, w)) // 2, (w - min(h, w)) // 2
    cut = picture[y : y + min(h, w), x : x + min(h, w)]
    return float_pixels(np.array(Image.fromarray(cut).resize((side, side))))[0]


def float_pixels(picture: np.ndarray) -> Tensor:
    """uint8 ``[h w 3]`` to float ``[1 3 h w]`` in [0, 1]."""
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255


def measure(estimate: Tensor, image: Tensor, truth: Tensor) -> dict[str, float]:
    """Scores of one picture; all arguments float ``[1 3 h w]`` in [0, 1].

    Returns:
        ``psnr`` and ``input``: PSNR of T̂ and of I in dB. ``gain``: their difference. ``low`` and
        ``high``: RMSE of the means of 16 × 16 pixels and of the rest, in levels of 255.
        ``strong``: the gain in the 10 % of pixels with the strongest reflection. ``amount``: see
        :func:`~derefl.reflection.amount.amount`.
    """
    low = F.avg_pool2d(estimate - truth, BLOCK, ceil_mode=True)
    rest = (
        estimate
        - truth
        - F.interpolate(low, scale_factor=BLOCK)[..., : truth.shape[2], : truth.shape[3]]
    )
    strength = (image - truth).abs().mean(dim=1, keepdim=True)
    strongest = (strength >= strength.flatten().quantile(0.9)).expand_as(truth)
    scores = {"psnr": psnr(estimate, truth), "input": psnr(image, truth)}
    return scores | {
        "gain": scores["psnr"] - scores["input"],
        "low": 255 * float(low.square().mean().sqrt()),
        "high": 255 * float(rest.square().mean().sqrt()),
        "strong": psnr(estimate[strongest], truth[strongest])
        - psnr(image[strongest], truth[strongest]),
        "amount": amount(image, estimate),
    }


@torch.inference_mode()
def measured(estimate: Callable[[Tensor], Tensor], pictures: Iterable[Sample]) -> Measured:
    """Scene and :func:`measure` of each picture, by kind.

    Args:
        estimate: a function from I to T̂, both float ``[1 3 h w]`` on the CPU.
        pictures: see :func:`samples`.
    """
    results: Measured = {}
    for kind, scene, image, truth in pictures:
        result = measure(estimate(image).clamp(0, 1), image, truth)
        results.setdefault(kind, []).append((scene, result))
    return results


def scores(measured: Measured) -> dict[str, dict[str, float]]:
    """Mean scores by kind.

    Returns:
        For each kind: the mean values of :func:`measure`; ``worst``, the lowest PSNR; ``n``, the
        number of pictures; and ``error``, the standard error of ``gain`` over scenes.
    """
    table = {}
    for kind, results in measured.items():
        means = {key: float(np.mean([r[key] for _, r in results])) for key in results[0][1]}
        by: dict[str, list[float]] = {}
        for scene, result in results:
            by.setdefault(scene, []).append(result["gain"])
        spread = np.std([np.mean(gains) for gains in by.values()]) / max(1, len(by) - 1) ** 0.5
        means["worst"] = min(r["psnr"] for _, r in results)
        table[kind] = {key: round(value, 4) for key, value in means.items()}
        table[kind] |= {"error": round(float(spread), 3), "n": len(results)}
    return table


def roc(measured: Measured, folders: Mapping[str, Path]) -> dict[str, Any]:
    """How well the amount separates photos with a reflection, from pairs, from photos without.

    Args:
        measured: see :func:`measured`.
        folders: as in :func:`samples`.

    Returns:
        ``auc``, the probability that a photo with a reflection has a larger amount than a photo
        without; ``with`` and ``without``, the number of these photos; ``at``, for some amounts the
        share of both groups that reaches it. Empty if a group is empty.
    """
    paired = {name for name, folder in folders.items() if has_pairs(folder)}
    found, false = (
        np.array([r["amount"] for kind in kinds for _, r in measured.get(kind, [])])
        for kinds in (paired, folders.keys() - paired | {"clean"})
    )
    if not (len(found) and len(false)):
        return {}
    auc = ((found[:, None] > false).mean() + (found[:, None] >= false).mean()) / 2
    at = [
        {"amount": t, "with": (found >= t).mean(), "without": (false >= t).mean()}
        for t in np.quantile(false, 1 - np.array(FALSE_ALARMS))
    ]
    return {"auc": auc, "with": len(found), "without": len(false), "at": at}


def choice(table: Mapping[str, Mapping[str, float]], kinds: Sequence[str], floor: float) -> float:
    """The score that chooses a checkpoint: the mean gain over ``kinds`` in dB.

    If clean photographs are below ``floor`` dB, the difference is subtracted.
    """
    gains = [table[kind]["gain"] for kind in kinds]
    harm = max(0.0, floor - table["clean"]["psnr"]) if "clean" in table else 0.0
    return float(np.mean(gains)) - harm


def format_table(table: Mapping[str, Mapping[str, float]]) -> list[str]:
    """A header and one line per kind."""
    columns = ("n", "input", "psnr", "gain", "error", "strong", "low", "high", "worst", "amount")
    lines = [f"{k:12}" + "".join(f"{row[c]:8.4g}" for c in columns) for k, row in table.items()]
    return [f"{'':12}" + "".join(f"{c:>8}" for c in columns), *lines]


def format_roc(roc: Mapping[str, Any]) -> list[str]:
    """The result of :func:`roc` in lines."""
    head = "amount: AUC {auc:.3f}, {with} photos with a reflection, {without} without".format(**roc)
    line = "  at {amount:.4f}: {with:.0%} of the photos with, {without:.0%} of the photos without"
    return [head, *(line.format(**row) for row in roc["at"])]


@torch.inference_mode()
def sheet(
    model: DeRefl, pictures: Iterator[Sample], path: Path, rows: int = 12, step: int = 7
) -> None:
    """Write I | T̂ | T | R̂_low + R̂_high (grey is zero) to ``path``: every ``step``-th picture."""
    device = next(model.parameters()).device
    strips = []
    for _, _, image, truth in islice(pictures, 0, rows * step, step):
        estimate, low, high = (layer.float().cpu() for layer in model(image.to(device)))
        parts = (image, estimate, truth, low + high + 0.5)
        strips.append(torch.cat([thumbnail(part) for part in parts], dim=3))
    write_png(torch.cat(strips, dim=2), path)


def thumbnail(picture: Tensor, side: int = 256) -> Tensor:
    """A picture ``[1 3 h w]`` in the corner of a black square: ``[1 3 side side]``."""
    scale = min(1.0, side / max(picture.shape[2:]))
    size = [max(1, round(n * scale)) for n in picture.shape[2:]]
    small = F.interpolate(picture, size, mode="bilinear", antialias=True)
    return F.pad(small, (0, side - size[1], 0, side - size[0]))


def psnr(a: Tensor, b: Tensor, most: float = 60.0) -> float:
    """Peak signal-to-noise ratio in dB over all values, peak 1; at most ``most``."""
    return float(-10 * torch.log10((a - b).square().mean().clamp_min(10 ** (-most / 10))))
