"""Synthetic reflections: blend two photographs into a picture taken through glass.

All pictures are sRGB, float ``[3 h w]`` in [0, 1]. All random numbers come from the given
generator, so a seed gives the same picture again. The target is always T itself, not T behind the
glass. So the network also learns to restore the light that the glass absorbs.
"""

import io
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from PIL import Image
from torch import Tensor

from derefl.errors import ConfigError
from derefl.training.config import Share, Weight


@dataclass(frozen=True)
class SynthesisConfig:
    """Probabilities of the effects in a synthetic picture, each in [0, 1].

    Attributes:
        recipes: weights of :data:`RECIPES`, in their order.
        bokeh: part of the scene is out of focus, so that blur is not a sign of a reflection.
        clean: no reflection, so that the network learns to keep a clean picture.
        weak: the reflected layer is dimmed before mixing, because the recipes give stronger
            reflections than most real panes.
        recolour: each layer gets another saturation, gamma and channel order.
        illuminant: the light in the reflected scene has another colour.
        veil: the reflection is so far out of focus that it is only a haze.
        sharp: the reflection is (almost) in focus.
        spatial: the strength of the reflection varies over the picture.
        ghost: a second, shifted and weaker copy, from the back surface of the pane.
        glass: the pane changes exposure and black level, see :func:`glass`.
        noise: sensor noise.
        compress: JPEG or WebP compression of the result.
    """

    recipes: tuple[Weight, Weight, Weight, Weight] = (0.35, 0.2, 0.15, 0.3)
    bokeh: Share = 0.15
    clean: Share = 0.12
    weak: Share = 0.25
    recolour: Share = 0.5
    illuminant: Share = 0.4
    veil: Share = 0.1
    sharp: Share = 0.4
    spatial: Share = 0.35
    ghost: Share = 0.15
    glass: Share = 0.4
    noise: Share = 0.3
    compress: Share = 0.6

    def __post_init__(self) -> None:
        if not any(self.recipes):
            raise ConfigError(f"got recipes={self.recipes}, expected a weight above 0")


def synthesise(t: Tensor, r: Tensor, rng: Generator, config: SynthesisConfig) -> Tensor:
    """Add the scene r as a reflection to the scene t.

    Args:
        t, r: sRGB, float ``[3 h w]`` in [0, 1], the same size.
        rng: NumPy generator.
        config: probabilities.

    Returns:
        The mixture, float ``[3 h w]`` in [0, 1].
    """
    mixture = t
    if rng.random() >= config.clean:
        veiled = rng.random() < config.veil
        r = veil(r, rng) if veiled else blur(r, rng, sharp=rng.random() < config.sharp)
        if rng.random() < config.illuminant:
            r = r * uniform(rng, 0.5, 1.1, (3, 1, 1))
        if rng.random() < config.weak:
            r = r * rng.uniform(0.1, 0.9)
        if rng.random() < config.ghost:
            r = ghost(r, rng)
        if rng.random() < config.spatial:
            r = r * strength_map(r.shape[1], r.shape[2], rng)
        recipe = RECIPES[
            rng.choice(len(RECIPES), p=np.asarray(config.recipes) / sum(config.recipes))
        ]
        mixture = recipe(t, r, rng)
        if rng.random() < config.glass:
            mixture = glass(mixture, rng)
    return photographed(mixture, rng, config)


def photographed(x: Tensor, rng: Generator, config: SynthesisConfig) -> Tensor:
    """Add noise and compression with their probabilities; in [0, 1].

    Pictures with and without a reflection get the same effects. Otherwise the network learns that
    compression artifacts mean "no reflection".
    """
    if rng.random() < config.noise:
        x = add_noise(x, rng)
    x = x.clamp(0, 1)
    if rng.random() < config.compress:
        x = compressed(x, str(rng.choice(["JPEG", "WEBP"])), int(rng.integers(55, 98)))
    return x


def glass(x: Tensor, rng: Generator) -> Tensor:
    """x·s + d: s ~ U(.9, 1.1), and a coloured black level d ~ U(0, .09) times U(.6, 1.2).

    The ranges cover the affine maps between input and ground truth in SIR², RSIR² and Zhang et al.
    """
    offset = uniform(rng, 0.6, 1.2, (3, 1, 1)) * rng.uniform(0, 0.09)
    return x * rng.uniform(0.9, 1.1) + offset


def transplanted(t: Tensor, image: Tensor, truth: Tensor, rng: Generator) -> Tensor:
    """I = αT + s·(I′ − T′)₊: the reflection of a real pair (I′, T′), added to another scene T.

    α ~ U(.85, 1.05), at most 1; s ~ U(.4, 1.2). All ``[3 h w]``. So the real reflections, with
    their true blur, shape and strength, appear over many scenes.
    """
    alpha, strength = min(1.0, rng.uniform(0.85, 1.05)), rng.uniform(0.4, 1.2)
    return (alpha * t + strength * (image - truth).clamp_min(0)).clamp(0, 1)


def screen(t: Tensor, r: Tensor, rng: Generator) -> Tensor:
    """I = αT + βR − αβ·T∘R with α ~ U(.8, 1), β ~ U(.4, 1) (DSIT)."""
    alpha, beta = rng.uniform(0.8, 1.0), rng.uniform(0.4, 1.0)
    return alpha * t + beta * r - alpha * beta * t * r


def clipped(t: Tensor, r: Tensor, rng: Generator) -> Tensor:
    """I = αT + clip(βR − m), m = 1.3·(mean of the values of αT + βR above 1, minus 1) (DSRNet)."""
    alpha, beta = rng.uniform(0.8, 1.0), rng.uniform(0.4, 1.0)
    sum_ = alpha * t + beta * r
    over = sum_[sum_ > 1]
    shift = 1.3 * (over.mean() - 1) if len(over) else 0.0
    return (alpha * t + (beta * r - shift).clamp(0, 1)).clamp(0, 1)


def per_channel(t: Tensor, r: Tensor, rng: Generator) -> Tensor:
    """:func:`screen` with a separate factor for each channel of T (RDNet)."""
    return screen(t * uniform(rng, 0.85, 1.0, (3, 1, 1)), r, rng)


def linear_light(t: Tensor, r: Tensor, rng: Generator) -> Tensor:
    """I = (τ·T^2.2 + ρ·R^2.2)^(1/2.2): light adds up linearly (after ERRNet's 2.2 gamma).

    τ ~ U(.75, 1.2), at most 1, is the transmittance of the pane, and ρ its reflectance. ρ is drawn
    so that the reflected layer is between very faint and as bright as the scene.
    """
    tau = min(1.0, rng.uniform(0.75, 1.2))
    t, r = t.clamp_min(1e-6) ** 2.2, r.clamp_min(1e-6) ** 2.2
    rho = (
        float(np.exp(rng.uniform(np.log(0.05), np.log(1.0)))) * (t.mean() + 0.2) / (r.mean() + 0.1)
    )
    return (tau * t + rho * r).clamp(1e-6, 1) ** (1 / 2.2)


RECIPES = (screen, clipped, per_channel, linear_light)


def blur(r: Tensor, rng: Generator, sharp: bool) -> Tensor:
    """Gaussian of size {5,7,9,11}, p {.1,.2,.3,.4}, and σ ~ U(2, 5) (DSIT); σ < 1 if sharp."""
    if sharp:
        size, sigma = 5, rng.uniform(0.2, 1.0)
    else:
        size, sigma = int(rng.choice([5, 7, 9, 11], p=[0.1, 0.2, 0.3, 0.4])), rng.uniform(2, 5)
    return gaussian(r, size, sigma)


def bokeh(t: Tensor, rng: Generator) -> Tensor:
    """T with a part out of focus: Gaussian, σ ~ U(1, 8) pixels, blended with a smooth mask."""
    where = (2 * strength_map(t.shape[1], t.shape[2], rng)).clamp(0, 1)
    return torch.lerp(t, gaussian(t, 33, rng.uniform(1, 8)), where)


def gaussian(x: Tensor, size: int, sigma: float) -> Tensor:
    """Gaussian blur with ``size`` × ``size`` taps, size odd; ``[3 h w]`` in and out."""
    line = torch.arange(size, dtype=x.dtype) - size // 2
    kernel = torch.softmax(-(line**2) / (2 * sigma**2), dim=0)
    x = F.pad(x[:, None], [size // 2] * 4, mode="reflect")
    return F.conv2d(F.conv2d(x, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))[:, 0]


def veil(r: Tensor, rng: Generator) -> Tensor:
    """The reflected scene reduced to 1 to 4 smooth patches of light per side."""
    rows, columns = (int(n) for n in rng.integers(1, 5, 2))
    coarse = F.adaptive_avg_pool2d(r[None], (rows, columns))
    return F.interpolate(coarse, r.shape[1:], mode="bicubic", align_corners=False)[0].clamp(0, 1)


def recolour(x: Tensor, rng: Generator) -> Tensor:
    """Gamma in [.7, 1.4], saturation × U(.6, 1.6), another channel order in 1 of 5 cases."""
    x = x.clamp(0, 1) ** float(np.exp(rng.uniform(-0.35, 0.35)))
    grey = x.mean(dim=0, keepdim=True)
    x = (grey + rng.uniform(0.6, 1.6) * (x - grey)).clamp(0, 1)
    return x[torch.from_numpy(rng.permutation(3))] if rng.random() < 0.2 else x


def ghost(r: Tensor, rng: Generator) -> Tensor:
    """Add the reflection of the back surface: shifted by up to 12 pixels, strength .3 to .8."""
    dy, dx = (int(d) for d in rng.integers(-12, 13, 2))
    strength = rng.uniform(0.3, 0.8)
    moved = F.pad(r[None], (12, 12, 12, 12), mode="reflect")[0]
    moved = moved[:, 12 + dy : 12 + dy + r.shape[1], 12 + dx : 12 + dx + r.shape[2]]
    return (r + strength * moved) / (1 + strength)


def strength_map(h: int, w: int, rng: Generator) -> Tensor:
    """Smooth factors in [0, 1.2], ``[1 h w]``: an enlarged coarse random grid; 0 in some places."""
    grid = torch.from_numpy(rng.uniform(-0.4, 1.2, (1, 1, *rng.integers(2, 6, 2)))).float()
    return F.interpolate(grid, (h, w), mode="bicubic", align_corners=False)[0].clamp(0, 1.2)


def add_noise(x: Tensor, rng: Generator) -> Tensor:
    """Sensor noise: variance a + b·x, up to about 3 of 255 levels."""
    a, b = rng.uniform(0, 1e-4), rng.uniform(0, 2e-4)
    noise = torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32))
    return x + noise * (a + b * x).sqrt()


def compressed(x: Tensor, format: str, quality: int) -> Tensor:
    """Encode as ``JPEG`` or ``WEBP`` and decode: ``[3 h w]`` in [0, 1] in and out."""
    buffer = io.BytesIO()
    array = (x * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(array).save(buffer, format, quality=quality)
    with Image.open(buffer) as image:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def uniform(rng: Generator, low: float, high: float, shape: tuple[int, ...]) -> Tensor:
    """Float32 tensor of U(low, high)."""
    return torch.from_numpy(rng.uniform(low, high, shape).astype(np.float32))
