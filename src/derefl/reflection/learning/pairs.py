"""Training and validation pairs: real ones from folders, synthetic ones from photographs.

The picture pair number i of step s depends on (seed, s, i) alone: no worker order, no state to
save, and a resumed run sees exactly what an uninterrupted one would have seen.
"""

import multiprocessing
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from derefl.errors import DataError
from derefl.reflection.learning.folders import list_pairs, list_pictures, read_pair, read_rgb
from derefl.reflection.learning.synthesis import (
    SynthesisConfig,
    bokeh,
    gaussian,
    photographed,
    recolour,
    synthesise,
    transplanted,
    uniform,
)

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

EVERY_PHOTO, EVERY_PAIR = 42, 10
"""Of the sorted photographs number 0, 42, 84 … are held back for validation and 21, 63 … for the
no-harm check; of the sorted real pairs number 0, 10, 20 … are held back for validation."""


@dataclass(frozen=True)
class PairsConfig:
    """Where pairs come from.

    Attributes:
        photos: folders of photographs, the layers of synthetic pairs. The first one also gives the
            held-back pictures.
        real: folders with ``blended/`` and ``transmission_layer/``.
        real_share: probability that a pair is a real one.
        weaker: probability that a real pair's reflection is weakened and tinted:
            I ← T + s·c·(I − T) with s ~ U(.1, 1) and c ~ U(.6, 1.4) for each channel.
        double: probability that a real pair gets a synthetic reflection on top of its own.
        transplant: probability that a synthetic pair takes its reflection from a real pair.
        real_scene: probability that a synthetic pair takes its scene from a real pair.
    """

    photos: tuple[str, ...] = ()
    real: tuple[str, ...] = ()
    real_share: float = 0.35
    weaker: float = 0.5
    double: float = 0.0
    transplant: float = 0.25
    real_scene: float = 0.0


class Decoded(Generic[Key, Value]):
    """Remembers what ``read`` made of each key; unlike functools.cache, it goes to workers."""

    def __init__(self, read: Callable[[Key], Value]) -> None:
        self.read = read
        self.known: dict[Key, Value] = {}

    def __call__(self, key: Key) -> Value:
        if key not in self.known:
            self.known[key] = self.read(key)
        return self.known[key]


class Pairs:
    """Draws training pairs and holds validation pairs back; pictures stay decoded in memory."""

    def __init__(self, config: PairsConfig, synthesis: SynthesisConfig, seed: int) -> None:
        self.config, self.synthesis, self.seed = config, synthesis, seed
        if not config.photos:
            raise DataError("no photographs to make pairs of; give folders with --photos DIR")
        first = list_pictures(config.photos[0])
        self.held_back = first[::EVERY_PHOTO]
        self.no_harm = no_harm_pictures(first)
        out = {*self.held_back, *self.no_harm}
        self.photos = [p for d in config.photos for p in list_pictures(d) if p not in out]
        real = [pair for folder in config.real for pair in list_pairs(folder)]
        self.real_held_back = real[::EVERY_PAIR]
        self.real = [pair for i, pair in enumerate(real) if i % EVERY_PAIR]
        self.picture, self.pair = Decoded(read_rgb), Decoded(read_pair)

    def decode(self, threads: int) -> None:
        """Read all pictures now, not when they are first drawn.

        Raises:
            DataError: one cannot be read.
        """
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(self.picture, self.photos))
            list(pool.map(self.pair, self.real))

    def crop(
        self, pictures: Sequence[np.ndarray], size: int, rng: Generator, least: int
    ) -> list[Tensor]:
        """The same random square of at least ``least`` pixels from each, resized and mirrored."""
        h, w = pictures[0].shape[:2]
        side = int(rng.integers(min(least, h, w), min(h, w) + 1))
        y, x = int(rng.integers(0, h - side + 1)), int(rng.integers(0, w - side + 1))
        mirror = rng.random() < 0.5
        out = []
        for picture in pictures:
            patch = torch.from_numpy(picture[y : y + side, x : x + side]).permute(2, 0, 1)[None]
            # In 8 bits, as pictures are: four times faster than in float.
            patch = F.interpolate(patch, (size, size), mode="bilinear", antialias=True)[0] / 255
            out.append(patch.flip(2) if mirror else patch)
        return out

    def real_pair(self, size: int, rng: Generator) -> tuple[Tensor, Tensor]:
        pair = self.pair(self.real[int(rng.integers(len(self.real)))])
        image, transmission = self.crop(pair, size, rng, 256)
        if rng.random() < self.config.weaker:
            tint = uniform(rng, 0.6, 1.4, (3, 1, 1))  # the reflected scene has light of its own
            image = torch.lerp(transmission, image, tint * rng.uniform(0.1, 1.0))
        # One exposure and one order of channels for both: eighty scenes should not teach eighty
        # brightnesses and tints.
        gamma = float(np.exp(rng.uniform(-0.25, 0.25)))
        order = torch.from_numpy(rng.permutation(3)) if rng.random() < 0.3 else torch.arange(3)
        return image[order].clamp(0, 1) ** gamma, transmission[order].clamp(0, 1) ** gamma

    def doubled_pair(self, size: int, rng: Generator) -> tuple[Tensor, Tensor]:
        """A real pair, in its share with a synthetic reflection added: the network meets the same
        eighty panes again and again, and would learn them by heart."""
        image, transmission = self.real_pair(size, rng)
        if rng.random() < self.config.double:
            image = synthesise(image, self.layer(size, rng), rng, self.synthesis)
        return image, transmission

    def layer(self, size: int, rng: Generator, real: float = 0.0) -> Tensor:
        """A random photograph, or with probability ``real`` the scene of a real pair."""
        if self.real and rng.random() < real:
            picture = self.pair(self.real[int(rng.integers(len(self.real)))])[1]
        else:
            picture = self.picture(self.photos[int(rng.integers(len(self.photos)))])
        layer = self.crop([picture], size, rng, int(size * 0.8))[0].clamp(0, 1)
        return recolour(layer, rng) if rng.random() < self.synthesis.recolour else layer

    def synthetic_pair(self, size: int, rng: Generator) -> tuple[Tensor, Tensor]:
        t, r = self.layer(size, rng, self.config.real_scene), self.layer(size, rng)
        if self.synthesis.bokeh and rng.random() < self.synthesis.bokeh:
            t = bokeh(t, rng)
        if self.real and rng.random() < self.config.transplant:
            mixture = transplanted(t, *self.real_pair(size, rng), rng)
            return photographed(mixture, rng, self.synthesis), t
        return synthesise(t, r, rng, self.synthesis), t

    def batch(self, step: int, count: int, size: int) -> tuple[Tensor, Tensor]:
        """The ``count`` pairs of step ``step``: I and T, float ``[count 3 size size]``."""
        pairs = []
        for index in range(count):
            rng = np.random.default_rng([self.seed, step, index])
            real = self.real and rng.random() < self.config.real_share
            pairs.append((self.doubled_pair if real else self.synthetic_pair)(size, rng))
        images, truths = zip(*pairs, strict=True)
        return torch.stack(images), torch.stack(truths)

    def validation(self, count: int = 32, size: int = 256) -> Iterator[tuple[str, Tensor, Tensor]]:
        """``(kind, I, T)`` one by one, ``[1 3 h w]``, the same in every run.

        Kinds: ``real``; ``synthetic``, of the first ``count`` photographs held back; ``clean``, the
        last ``count`` as they are; ``blurred_2`` and ``blurred_5``, these out of focus, σ in
        pixels. For the last three T is I: whatever the network takes from them is harm.
        """
        for blended, truth in map(self.pair, self.real_held_back):
            yield "real", shrunk(blended, 512), shrunk(truth, 512)
        for i, path in enumerate(self.held_back[:count]):
            rng = np.random.default_rng([20250512, i])
            other = self.held_back[(i + 1) % len(self.held_back)]
            t, r = (
                self.crop([self.picture(p)], size, rng, 10**9)[0].clamp(0, 1) for p in (path, other)
            )
            yield "synthetic", synthesise(t, r, rng, self.synthesis)[None], t[None]
        for path in self.held_back[-count:]:
            photo = shrunk(self.picture(path), size)
            yield "clean", photo, photo
            for sigma in (2, 5):
                soft = gaussian(photo[0], 33, sigma)[None]
                yield f"blurred_{sigma}", soft, soft


def no_harm_pictures(photos: list[Path]) -> list[Path]:
    """Of the sorted photographs, those held back for measuring what happens to clean pictures."""
    return photos[EVERY_PHOTO // 2 :: EVERY_PHOTO]


def shrunk(picture: np.ndarray, longest: int) -> Tensor:
    """``[1 3 h w]`` in [0, 1] with the longer side ``longest`` and sides that 32 divides."""
    h, w = picture.shape[:2]
    h, w = (int(n * longest / max(h, w)) // 32 * 32 for n in (h, w))
    image = Image.fromarray(picture).resize((w, h))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


class Steps(Dataset[tuple[Tensor, Tensor]]):
    """The batches of :class:`Pairs` as PyTorch's data set: ``(step, count, size)`` to a batch."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs

    def __getitem__(self, step: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
        return self.pairs.batch(*step)


def batches(
    pairs: Pairs, plan: Iterable[tuple[int, int, int]], workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches for a plan of ``(step, count, size)``, made ahead by ``workers`` processes.

    With 0 workers each batch is made when it is asked for. That is fastest where the network
    itself runs on the CPU: anything beside it only fights it for the cores. For a GPU use as many
    processes as there are cores; threads would wait for each other in the interpreter.
    """
    if not workers:
        yield from (pairs.batch(*step) for step in plan)
        return
    pairs.decode(workers)  # a forked worker shares what is decoded before; a spawned one copies it
    start = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
    yield from DataLoader(
        Steps(pairs),
        batch_size=None,
        sampler=plan,
        num_workers=workers,
        prefetch_factor=4,
        pin_memory=torch.cuda.is_available(),
        multiprocessing_context=start,
    )
