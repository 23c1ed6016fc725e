"""Train a small network on the example pictures: ``python examples/train_reflection.py [STEPS]``.

Needs derefl[train]. The run lies in outputs/train; the same command with more steps goes on.
Eight photographs teach nothing for use: this shows the loop. The recipe of the shipped weights is
configs/derefl-small.toml.
"""

import sys
from pathlib import Path

import torch
from PIL import Image

from derefl import load_derefl, save_picture
from derefl.reflection.learning.losses import decomposition_loss
from derefl.reflection.learning.pairs import Pairs, PairsConfig
from derefl.reflection.learning.synthesis import SynthesisConfig
from derefl.reflection.learning.train import RunConfig, TrainConfig, train
from derefl.reflection.model import DeRefl, DeReflConfig

PICTURES = Path(__file__).parent / "pictures"
OUT = Path("outputs/train")

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 200
config = TrainConfig(
    model=DeReflConfig(dims=(16, 16, 32, 48, 64), depths=(1, 1, 1, 1, 1), head_dim=8),
    pairs=PairsConfig(photos=(str(PICTURES / "layers"),)),
    # Strong reflections and little else, so that a short run has something to show.
    synthesis=SynthesisConfig(clean=0, weak=0, recolour=0, spatial=0, noise=0, compress=0),
    run=RunConfig(
        steps=steps,
        batch=4,
        size=64,
        late_from=1.0,
        learning_rate=2e-3,
        backbone_rate=5e-4,
        warmup=10,
        ema=0.95,
        validate_every=steps,
    ),
)

# Pairs that training does not draw: its seed is another.
batch = Pairs(config.pairs, config.synthesis, seed=1).batch(0, 32, 64)


@torch.inference_mode()
def loss(model: DeRefl) -> float:
    """Of these pairs."""
    layers, kernel = model.eval()(batch.image), model.config.mean_kernel
    return float(decomposition_loss(layers, *batch, kernel, config.loss)[0])


print(f"loss before: {loss(DeRefl(config.model)):.4f}")
print(f"loss after {steps} steps: {loss(train(config, OUT, torch.device('cpu'))):.4f}")

model = load_derefl(OUT / "model.safetensors")  # as any other weights
photo = Image.open(PICTURES / "through_glass" / "wine.jpg")
save_picture(model.dereflect(photo), OUT / "wine.png", overwrite=True)
print(f"look at wine.png and validation-{steps:06d}.png in {OUT}; the log is log.jsonl")
