"""Evaluate on pairs with ground truth, with two common protocols."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from derefl.errors import ConfigError, DataError, MissingExtraError
from derefl.files import atomic_file, check_output
from derefl.reflection.learning.folders import Pair, list_pairs, read_pair, read_rgb
from derefl.reflection.learning.validate import psnr as tensor_psnr
from derefl.reflection.learning.validate import to_tensor
from derefl.reflection.remover import ReflectionRemover

PROTOCOLS = ("resize32", "native8")


@dataclass(frozen=True)
class PairScore:
    """PSNR in dB and SSIM of the output and of the input, for one picture."""

    name: str
    psnr: float
    ssim: float
    input_psnr: float
    input_ssim: float


@dataclass(frozen=True)
class Report:
    """Mean scores over a data set."""

    n: int
    psnr: float
    ssim: float
    input_psnr: float
    input_ssim: float
    protocol: str
    model: str
    per_image: tuple[PairScore, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain types for ``json.dumps``."""
        return asdict(self)


def evaluate(
    model: ReflectionRemover,
    data: str | Path,
    protocol: str = "resize32",
    name: str = "",
    pictures: Path | None = None,
    progress: Callable[[list[Pair]], Iterator[Pair]] = iter,
) -> Report:
    """Evaluate a model on all pairs of a data set.

    ``resize32`` (DSIT, DSRNet): both pictures are resized down to multiples of 32 with Pillow's
    default filter. The output is clipped, but not rounded. PSNR and SSIM are averaged over the RGB
    channels. ``native8``: native size, output rounded to 8 bits, PSNR over RGB jointly, SSIM over
    the channel axis. SSIM is from scikit-image with default settings and data range 255.

    Args:
        model: the network, on its device.
        data: folder of pairs, see :func:`~derefl.reflection.learning.folders.list_pairs`.
        protocol: one of :data:`PROTOCOLS`.
        name: name of the data set, for the report.
        pictures: folder for the outputs, as PNG.
        progress: wraps the iteration over the pairs, for example in a progress bar.

    Raises:
        ConfigError: unknown protocol.
        DataError: the folder does not contain pairs, or the sizes of a pair differ.
        MissingExtraError: scikit-image is not installed.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(f"got protocol {protocol!r}, expected one of {', '.join(PROTOCOLS)}")
    if pictures is not None:
        check_output(pictures / "NAME.png", overwrite=True)
    score = resize32_scores if protocol == "resize32" else native8_scores
    scores = []
    for pair in progress(list_pairs(data)):
        image, truth = read_pair(pair)
        if protocol == "resize32":
            image, truth = (cut_to_32(picture, pair.name) for picture in (image, truth))
        output = run(model, image)
        psnr, ssim = score(output, truth)
        scores.append(PairScore(pair.name, psnr, ssim, *score(image.astype(np.float64), truth)))
        if pictures is not None:
            with atomic_file(pictures / f"{pair.name}.png") as file:
                Image.fromarray(output.round().astype(np.uint8)).save(file, "PNG")

    def mean(field: str) -> float:
        return float(np.mean([getattr(score, field) for score in scores]))

    return Report(
        n=len(scores),
        psnr=mean("psnr"),
        ssim=mean("ssim"),
        input_psnr=mean("input_psnr"),
        input_ssim=mean("input_ssim"),
        protocol=protocol,
        model=name,
        per_image=tuple(scores),
    )


def cut_to_32(picture: np.ndarray, name: str) -> np.ndarray:
    """Resize uint8 ``[h w 3]`` down to multiples of 32, for ``resize32``."""
    height, width = (n // 32 * 32 for n in picture.shape[:2])
    if 0 in (height, width):
        raise DataError(f"{name} is smaller than 32 pixels; use --protocol native8")
    if (height, width) == picture.shape[:2]:
        return picture
    return np.array(Image.fromarray(picture).resize((width, height)))


def evaluate_clean(model: ReflectionRemover, paths: list[Path]) -> dict[str, Any]:
    """Evaluate a model on photos without a reflection, as in ``native8``.

    Args:
        model: the network.
        paths: the photos.

    Returns:
        ``n``; ``psnr``, the mean PSNR of the output against the input in dB, with 60 for an
        unchanged photo; ``worst_psnr`` and ``worst``, the lowest PSNR and its file name;
        ``brightness``, the mean change in levels of 255.
    """
    scores, changes = [], []
    for path in paths:
        image = read_rgb(path)
        output = run(model, image).round()
        scores.append(tensor_psnr(torch.from_numpy(output / 255), torch.from_numpy(image / 255)))
        changes.append(float(np.mean(output - image)))
    worst = int(np.argmin(scores))
    return {
        "n": len(scores),
        "psnr": float(np.mean(scores)),
        "worst_psnr": scores[worst],
        "worst": paths[worst].name,
        "brightness": float(np.mean(changes)),
    }


@torch.inference_mode()
def run(model: ReflectionRemover, image: np.ndarray) -> np.ndarray:
    """T̂ of a uint8 ``[h w 3]`` picture: float64 ``[h w 3]`` in [0, 255], clipped, not rounded."""
    output = model.transmission(to_tensor(image)).clamp(0, 1)[0].permute(1, 2, 0)
    return output.double().cpu().numpy() * 255


def resize32_scores(output: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """PSNR and SSIM per channel, averaged; both ``[h w 3]`` in [0, 255]."""
    psnr_of, ssim_of = metrics()
    truth = truth.astype(np.float64)
    channels = [(truth[..., c], output[..., c]) for c in range(3)]
    psnr = np.mean([psnr_of(t, o, data_range=255) for t, o in channels])
    ssim = np.mean([ssim_of(t, o, data_range=255) for t, o in channels])
    return float(psnr), float(ssim)


def native8_scores(output: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """PSNR over RGB jointly and multichannel SSIM of the rounded output."""
    psnr_of, ssim_of = metrics()
    rounded = output.round().astype(np.uint8)
    psnr = psnr_of(truth, rounded, data_range=255)
    return float(psnr), float(ssim_of(truth, rounded, data_range=255, channel_axis=2))


def metrics() -> tuple[Callable[..., float], Callable[..., float]]:
    """scikit-image's PSNR and SSIM."""
    try:
        from skimage.metrics import peak_signal_noise_ratio, structural_similarity
    except ImportError as error:
        raise MissingExtraError("scikit-image", "train", "evaluation") from error
    return peak_signal_noise_ratio, structural_similarity
