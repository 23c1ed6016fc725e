"""Training pairs: real pairs from folders, and synthetic pairs from photographs.

Pair i of step s depends only on (seed, s, i). So workers may run in any order, a saved state needs
no generator, and a resumed run sees the same pairs.
"""

import multiprocessing
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from derefl.errors import DataError
from derefl.reflection.learning.folders import Pair, list_pairs, list_pictures, read_pair, read_rgb
from derefl.reflection.learning.synthesis import (
    SynthesisConfig,
    bokeh,
    photographed,
    recolour,
    synthesise,
    transplanted,
    uniform,
)
from derefl.training.config import Share, Whole

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

SHRINK = 2 / 3
"""Largest scale of the layers of synthetic pairs; scaling down removes compression artifacts."""


@dataclass(frozen=True)
class PairsConfig:
    """Sources of pairs. Probabilities are in [0, 1].

    Attributes:
        photos: folders of photographs, for the layers of synthetic pairs.
        real: folders with ``blended/`` and ``transmission_layer/``.
        real_share: probability of a real pair. First a scene is drawn, then a pair of the scene.
        weaker: probability that a real pair's reflection is weakened and tinted:
            I ← T + s·c·(I − T) with s ~ U(.2, 1) and c ~ U(.6, 1.4) for each channel.
        double: probability that a real pair gets an additional synthetic reflection.
        transplant: probability that a synthetic pair uses the reflection of a real pair.
        real_scene: probability that a layer of a synthetic pair is the scene of a real pair.
        hold_back: every n-th photograph of a folder is not used for training; 0 uses all.
    """

    photos: tuple[str, ...] = ()
    real: tuple[str, ...] = ()
    real_share: Share = 0.55
    weaker: Share = 0.3
    double: Share = 0.15
    transplant: Share = 0.25
    real_scene: Share = 0.2
    hold_back: Whole = 21


class Batch(NamedTuple):
    """Pairs of one step: I and T, float ``[b 3 h w]`` in [0, 1], and bool ``[b]``: real pair."""

    image: Tensor
    truth: Tensor
    real: Tensor


class Decoded(Generic[Key, Value]):
    """A cache for the results of ``read``; unlike functools.cache, it can be pickled."""

    def __init__(self, read: Callable[[Key], Value]) -> None:
        self.read = read
        self.known: dict[Key, Value] = {}

    def __call__(self, key: Key) -> Value:
        if key not in self.known:
            self.known[key] = self.read(key)
        return self.known[key]


class Pairs(Dataset[Batch]):
    """Draws training pairs. Decoded pictures stay in memory."""

    def __init__(self, config: PairsConfig, synthesis: SynthesisConfig, seed: int) -> None:
        self.config, self.synthesis, self.seed = config, synthesis, seed
        if not config.photos:
            raise DataError("no photographs for synthetic pairs; give folders with --photos DIR")
        out = set(held_back_photos(config.photos, config.hold_back))
        self.photos = [p for d in config.photos for p in list_pictures(d) if p not in out]
        self.scenes = list(by_scene(p for d in config.real for p in list_pairs(d)).values())
        self.picture, self.pair = Decoded(read_rgb), Decoded(read_pair)

    def decode(self, threads: int) -> None:
        """Read all pictures.

        Raises:
            DataError: a picture cannot be read.
        """
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(self.picture, self.photos))
            list(pool.map(self.pair, (pair for scene in self.scenes for pair in scene)))

    def crop(
        self, pictures: Sequence[np.ndarray], size: int, rng: Generator, most: float = 1.0
    ) -> list[Tensor]:
        """Crop the same random square from each picture; resize and mirror all squares equally.

        The squares are scaled down by a factor between ``most / 2`` and ``most``. If a picture is
        too small, its squares are scaled down by ``most`` and enlarged again.
        """
        h, w = pictures[0].shape[:2]
        side = round(size / rng.uniform(most / 2, most))
        side = min(side, int(min(h, w) * rng.uniform(0.85, 1.0)))
        y, x = int(rng.integers(0, h - side + 1)), int(rng.integers(0, w - side + 1))
        small = min(size, max(1, int(side * most)))
        mirror = rng.random() < 0.5
        out = []
        for picture in pictures:
            patch = torch.from_numpy(picture[y : y + side, x : x + side]).permute(2, 0, 1)[None]
            # Resizing 8-bit values is four times faster than float.
            patch = F.interpolate(patch, (small, small), mode="bilinear", antialias=True)
            if small < size:
                patch = F.interpolate(patch, (size, size), mode="bicubic", antialias=True)
            patch = patch[0] / 255
            out.append(patch.flip(2) if mirror else patch)
        return out

    def random_pair(self, rng: Generator) -> Pair:
        scene = self.scenes[int(rng.integers(len(self.scenes)))]
        return scene[int(rng.integers(len(scene)))]

    def real_pair(self, size: int, rng: Generator) -> tuple[Tensor, Tensor]:
        image, transmission = self.crop(self.pair(self.random_pair(rng)), size, rng)
        if rng.random() < self.config.weaker:
            tint = uniform(rng, 0.6, 1.4, (3, 1, 1))  # colour of the light in the reflected scene
            image = torch.lerp(transmission, image, tint * rng.uniform(0.2, 1.0))
        # The same gamma and channel order for both pictures, so that the network does not learn the
        # brightness and tint of the few real scenes.
        gamma = float(np.exp(rng.uniform(-0.25, 0.25)))
        order = torch.from_numpy(rng.permutation(3)) if rng.random() < 0.3 else torch.arange(3)
        return image[order].clamp(0, 1) ** gamma, transmission[order].clamp(0, 1) ** gamma

    def doubled_pair(self, size: int, rng: Generator) -> tuple[Tensor, Tensor]:
        """A real pair, with probability ``double`` with an added synthetic reflection."""
        image, transmission = self.real_pair(size, rng)
        if rng.random() < self.config.double:
            image = synthesise(image, self.layer(size, rng), rng, self.synthesis)
        return image, transmission

    def layer(self, size: int, rng: Generator) -> Tensor:
        """A random photograph, or with probability ``real_scene`` the scene of a real pair.

        The result is scaled down by at least a third.
        """
        if self.scenes and rng.random() < self.config.real_scene:
            picture = self.pair(self.random_pair(rng))[1]
        else:
            picture = self.picture(self.photos[int(rng.integers(len(self.photos)))])
        layer = self.crop([picture], size, rng, SHRINK)[0].clamp(0, 1)
        return recolour(layer, rng) if rng.random() < self.synthesis.recolour else layer

    def synthetic_pair(self, size: int, rng: Generator) -> tuple[Tensor, Tensor]:
        t = self.layer(size, rng)
        if rng.random() < self.synthesis.bokeh:
            t = bokeh(t, rng)
        if self.scenes and rng.random() < self.config.transplant:
            mixture = transplanted(t, *self.real_pair(size, rng), rng)
            return photographed(mixture, rng, self.synthesis), t
        return synthesise(t, self.layer(size, rng), rng, self.synthesis), t

    def __getitem__(self, step: tuple[int, int, int]) -> Batch:
        return self.batch(*step)

    def batch(self, step: int, count: int, size: int) -> Batch:
        """The ``count`` pairs of a step, ``size`` pixels per side."""
        pairs, kinds = [], []
        for index in range(count):
            rng = np.random.default_rng([self.seed, step, index])
            real = bool(self.scenes) and rng.random() < self.config.real_share
            pairs.append((self.doubled_pair if real else self.synthetic_pair)(size, rng))
            kinds.append(real)
        images, truths = zip(*pairs, strict=True)
        return Batch(torch.stack(images), torch.stack(truths), torch.tensor(kinds))


def held_back_photos(folders: Iterable[str | Path], every: int) -> list[Path]:
    """The photographs that training does not use: number 0, ``every``, … of each folder.

    Raises:
        DataError: a folder is missing or has no pictures.
    """
    return [photo for d in folders for photo in list_pictures(d)[::every]] if every else []


def by_scene(pairs: Iterable[Pair]) -> dict[str, list[Pair]]:
    """Pairs by folder and scene. The scene is the name before its last hyphen: 12-3 and 12-4 are
    two pairs of scene 12."""
    scenes: dict[str, list[Pair]] = {}
    for pair in pairs:
        key = f"{pair.blended.parent}/{pair.name.rpartition('-')[0] or pair.name}"
        scenes.setdefault(key, []).append(pair)
    return scenes


def batches(pairs: Pairs, plan: Iterable[tuple[int, int, int]], workers: int) -> Iterator[Batch]:
    """Batches for a plan of ``(step, count, size)``, made in advance by ``workers`` processes.

    With 0 workers, each batch is made on demand. This is fastest if the network runs on the same
    cores. For a GPU, use one process per core.
    """
    if not workers:
        yield from map(pairs.__getitem__, plan)
        return
    pairs.decode(workers)  # forked workers share the decoded pictures; spawned workers copy them
    start = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
    yield from DataLoader(
        pairs,
        batch_size=None,
        sampler=plan,
        num_workers=workers,
        prefetch_factor=4,
        pin_memory=torch.cuda.is_available(),
        multiprocessing_context=start,
    )
