"""Find, read and write the pictures and pairs of a data folder."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from derefl.errors import DataError, ImageError
from derefl.files import atomic_file
from derefl.imaging.tensors import to_rgb

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


class Pair(NamedTuple):
    """A picture taken through glass, and the same scene without glass."""

    name: str
    blended: Path
    transmission: Path


def read_rgb(path: Path) -> np.ndarray:
    """Read a picture for evaluation: sRGB, uint8 ``[h w 3]``, stored orientation.

    Raises:
        DataError: the picture cannot be read.
    """
    try:
        with Image.open(path) as image:
            return np.array(to_rgb(image))
    except (OSError, ValueError, SyntaxError, ImageError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); remove the file, or get the file again"
        ) from error


def read_pair(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Read the blended picture and its ground truth with :func:`read_rgb`.

    Raises:
        DataError: a picture cannot be read, or the sizes differ.
    """
    blended, truth = read_rgb(pair.blended), read_rgb(pair.transmission)
    if blended.shape != truth.shape:
        (h, w, _), (truth_h, truth_w, _) = blended.shape, truth.shape
        raise DataError(
            f"{pair.name}: the blended picture is {w}×{h}, its truth {truth_w}×{truth_h}, expected "
            "equal sizes"
        )
    return blended, truth


def write_png(pixels: Tensor, path: Path) -> None:
    """Write ``[1 3 h w]`` as a PNG; values are clipped to [0, 1]."""
    levels = (pixels[0].clamp(0, 1) * 255).round().byte()
    with atomic_file(path) as file:
        Image.fromarray(levels.permute(1, 2, 0).cpu().numpy()).save(file, "PNG")


def list_pictures(folder: str | Path) -> list[Path]:
    """The pictures directly in ``folder``, sorted by name.

    Raises:
        DataError: no such folder, or the folder has no pictures.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give a folder with pictures")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not found:
        raise DataError(
            f"{folder} has no pictures; expected files ending in {', '.join(sorted(SUFFIXES))}"
        )
    return found


def list_pairs(folder: str | Path) -> list[Pair]:
    """All pairs of a data set, sorted by name.

    Two layouts are supported: ``blended/`` and ``transmission_layer/`` with equal stems (suffixes
    may differ), and the layout of SIR² at any depth: ``m.jpg`` beside ``g.jpg``
    (SolidObjectDataset, Wildscene), ``bh-5-m-27.png`` beside ``bh-5-g-27.png`` (Postcard Dataset).

    Raises:
        DataError: unknown layout, or a picture without its partner.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder; give a folder with blended/ and transmission_layer/"
        )
    if (folder / "blended").is_dir() or (folder / "transmission_layer").is_dir():
        return pairs_by_folder(folder)
    pairs = sir2_pairs(folder)
    if not pairs:
        raise DataError(
            f"{folder} has neither blended/ and transmission_layer/ nor SIR²'s m.jpg and g.jpg; "
            "give the folder of one data set, for example real20/"
        )
    return pairs


def pairs_by_folder(folder: Path) -> list[Pair]:
    """Pairs with equal stems in ``blended/`` and ``transmission_layer/``."""
    blended, truth = (
        {p.stem: p for p in list_pictures(folder / part)}
        for part in ("blended", "transmission_layer")
    )
    if alone := sorted(blended.keys() ^ truth.keys()):
        raise DataError(
            f"{folder}: {len(alone)} pictures are only in blended/ or only in transmission_layer/, "
            f"the first is {alone[0]!r}; give each picture a partner with the same name"
        )
    return [Pair(stem, blended[stem], truth[stem]) for stem in sorted(blended)]


def sir2_pairs(folder: Path) -> list[Pair]:
    """Pairs in the layout of SIR², named by their path below ``folder``."""
    pairs = []
    for path in sorted(folder.rglob("*")):
        # The mixture's name has m where the ground truth's name has g; skip other files (r, g).
        parts = path.stem.split("-")
        where = 0 if len(parts) == 1 else len(parts) - 2
        if path.suffix.lower() not in SUFFIXES or parts[where] != "m":
            continue
        parts[where] = "g"
        truth = path.with_stem("-".join(parts))
        if not truth.exists():
            raise DataError(f"{path} has no ground truth beside it; expected {truth.name}")
        name = "-".join(path.relative_to(folder).with_suffix("").parts)
        pairs.append(Pair(name, path, truth))
    return pairs
