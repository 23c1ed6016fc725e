"""What each part of the reflection network and its recipe is worth, on one small budget.

    python examples/ablate_reflection.py --photos DIR … --real DIR … --out runs/ablations

Every variant is trained from ImageNet's backbone weights with the same seed and steps, then
measured on the same held-back pictures. Needs derefl[train]; about three minutes a variant on one
core. The same command goes on after a stop. Results: OUT/ablations.jsonl, printed as a table
of PSNR in dB.
"""

import argparse
import functools
import json
import re
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from derefl.reflection.frequency import HighFrequencyBlock
from derefl.reflection.learning import pairs as pair_module
from derefl.reflection.learning import train as train_module
from derefl.reflection.learning.folders import read_rgb
from derefl.reflection.learning.losses import decomposition_loss
from derefl.reflection.learning.pairs import Pairs, shrunk
from derefl.reflection.learning.train import TrainConfig, train
from derefl.reflection.learning.validate import psnr, validate
from derefl.reflection.model import Backbone, DeRefl
from derefl.training.config import read_config
from derefl.training.imagenet import load_imagenet_weights

BASE = (  # a small budget, with the recipe of derefl-small
    "run.batch=6",
    "run.size=128",
    "run.late_from=1.0",
    "run.warmup=50",
    "run.ema=0.99",
    "run.validate_every=1000000",
    "run.save_every=1000000",
    "loss.log_error=0.06",
    "synthesis.recipes=[0.25, 0.15, 0.15, 0.45]",
    "synthesis.sharp=0.45",
)

original_high = HighFrequencyBlock.forward


def unmodulated(self, transmission, residual_low, t, r):  # type: ignore[no-untyped-def]
    """G predicts R_high, and the streams stay as they are."""
    return original_high(self, transmission, residual_low, t, r)[0], t, r


def no_high(self, transmission, residual_low, t, r):  # type: ignore[no-untyped-def]
    """No G: R_high is nothing."""
    return torch.zeros_like(transmission), t, r


def shrunk_picture(self, x: Tensor) -> list[Tensor]:  # type: ignore[no-untyped-def]
    """In place of the backbone's features the picture itself at each stride."""
    features = []
    for i, channels in enumerate(self.channels):
        small = F.avg_pool2d(2 * x - 1, 2 ** (i + 1))
        features.append(
            rearrange(F.pad(small, (0, 0, 0, 0, 0, channels - 3)), "b c h w -> b h w c")
        )
    return features


class Perceptual:
    """Adds the L1 distance of frozen ImageNet features at strides 2, 4 and 8 to the loss."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    @functools.cached_property
    def eye(self) -> Backbone:
        eye = Backbone("tf_efficientnet_lite0")
        load_imagenet_weights(eye.features, "tf_efficientnet_lite0", features_only=True)
        return eye.eval().requires_grad_(False)

    def __call__(self, layers, image, truth, kernel, config):  # type: ignore[no-untyped-def]
        loss, terms = decomposition_loss(layers, image, truth, kernel, config)
        with torch.no_grad():
            target = self.eye(truth)[:3]
        for ours, theirs in zip(self.eye(layers.transmission)[:3], target, strict=True):
            loss = loss + self.weight / 3 * (ours - theirs).abs().mean() / theirs.abs().mean()
        return loss, terms


@dataclass(frozen=True)
class Variant:
    """Settings put over the base's, and attributes replaced for what is not a setting."""

    settings: tuple[str, ...] = ()
    replaced: tuple[tuple[object, str, object], ...] = ()


def recipe(index: int) -> tuple[str, ...]:
    """Only this one of the four recipes."""
    return (f"synthesis.recipes={[float(i == index) for i in range(4)]}",)


G, LOSS = (HighFrequencyBlock, "forward"), (train_module, "decomposition_loss")
VARIANTS = {
    "base": Variant(),
    "base, seed 1": Variant(("run.seed=1",)),
    "base, seed 2": Variant(("run.seed=2",)),
    "reorganise: interleave": Variant(("model.reorganise=interleave",)),
    "reorganise: none": Variant(("model.reorganise=none",)),
    "no attention": Variant(("model.windows=[0, 0, 0, 0, 0]",)),
    "G without modulation": Variant((), ((*G, unmodulated),)),
    "no G, no R_high": Variant(("loss.high=0", "loss.consistency=0"), ((*G, no_high),)),
    "targets from T̂": Variant(("loss.estimated_targets=true",)),
    "mean filter 5": Variant(("model.mean_kernel=5",)),
    "mean filter 41": Variant(("model.mean_kernel=41",)),
    "backbone: features off": Variant((), ((Backbone, "forward", shrunk_picture),)),
    "backbone: not from ImageNet": Variant(
        ("run.backbone_rate=5e-4",), ((train_module, "load_imagenet_weights", lambda *a, **k: 0),)
    ),
    "backbone: frozen": Variant(("run.backbone_rate=0",)),
    "half as wide": Variant(("model.dims=[12, 24, 48, 96, 128]", "model.head_dim=12")),
    "1.5 times as wide": Variant(("model.dims=[36, 72, 144, 288, 384]", "model.head_dim=36")),
    "perceptual, 0.02": Variant((), ((*LOSS, Perceptual(0.02)),)),
    "perceptual, 0.1": Variant((), ((*LOSS, Perceptual(0.1)),)),
    "log error 0.02": Variant(("loss.log_error=0.02",)),
    "no log error": Variant(("loss.log_error=0",)),
    "real share 0": Variant(("pairs.real_share=0", "pairs.transplant=0")),
    "real share 0.15": Variant(("pairs.real_share=0.15",)),
    "real share 0.6": Variant(("pairs.real_share=0.6",)),
    "no transplant": Variant(("pairs.transplant=0",)),
    "doubled .3, real scenes .25": Variant(("pairs.double=0.3", "pairs.real_scene=0.25")),
    "only screen": Variant(recipe(0)),
    "only clipped": Variant(recipe(1)),
    "only linear light": Variant(recipe(3)),
    **{
        f"synthesis: no {name}": Variant((f"synthesis.{name}=0",))
        for name in ("clean", "weak", "recolour", "illuminant", "veil", "sharp", "spatial")
    },
    "synthesis: bokeh .25": Variant(("synthesis.bokeh=0.25",)),
    "synthesis: no ghost, no cast": Variant(("synthesis.ghost=0", "synthesis.cast=0")),
    "synthesis: no noise, no jpeg": Variant(("synthesis.noise=0", "synthesis.jpeg=0")),
}


@torch.inference_mode()
def measure(model: DeRefl, pairs: Pairs, sheet: Path) -> dict[str, float]:
    """Mean PSNR in dB: held-back real pairs, synthetic pairs, and photos without a reflection."""
    scores = validate(model, pairs, sheet)
    photos = [shrunk(read_rgb(p), 256) for p in pairs.no_harm[:40]]
    clean = sum(psnr(model(x).transmission.clamp(0, 1), x) for x in photos) / len(photos)
    return {**scores, "clean_psnr": round(clean, 3)}


def run(variant: Variant, options: argparse.Namespace, out: Path, judge: Pairs) -> dict[str, float]:
    """Train one variant and measure it."""
    config = config_of(options, *variant.settings)
    with ExitStack() as stack:
        stack.enter_context(patch.object(train_module, "validate", lambda *a: {}))
        for target, name, value in variant.replaced:
            stack.enter_context(patch.object(target, name, value))
        model = train(config, out, torch.device("cpu"))
        return measure(model, judge, out / "judged.png")


def config_of(options: argparse.Namespace, *settings: str) -> TrainConfig:
    """The base with settings put over it."""
    steps = f"run.steps={options.steps}"
    config = read_config(TrainConfig, None, (*BASE, steps, *settings))
    photos, real = tuple(options.photos), tuple(options.real)
    return replace(config, pairs=replace(config.pairs, photos=photos, real=real))


def main() -> None:
    """Run what is not done yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", nargs="+", required=True, metavar="DIR")
    parser.add_argument("--real", nargs="+", required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=VARIANTS, default=VARIANTS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    results = options.out / "ablations.jsonl"
    done = {}
    if results.exists():
        done = {row["variant"]: row for row in map(json.loads, results.read_text().splitlines())}
    # Every variant draws from the same photographs: decode each once.
    with patch.object(pair_module, "read_rgb", functools.cache(read_rgb)):
        base = config_of(options)
        judge = Pairs(base.pairs, base.synthesis, 0)
        for name, variant in VARIANTS.items():
            if name in options.only and name not in done:
                scores = run(variant, options, options.out / re.sub(r"\W+", "-", name), judge)
                done[name] = {"variant": name, **scores}
                with results.open("a") as file:
                    file.write(json.dumps(done[name], ensure_ascii=False) + "\n")
    print("| variant | real | synthetic | clean |\n| --- | --- | --- | --- |")
    for name in VARIANTS:
        if row := done.get(name):
            real, synthetic, clean = (row[f"{of}_psnr"] for of in ("real", "synthetic", "clean"))
            print(f"| {name} | {real:.2f} | {synthetic:.2f} | {clean:.1f} |")


if __name__ == "__main__":
    main()
