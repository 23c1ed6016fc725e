"""Train a small network on the example pictures: ``python examples/train_reflection.py [STEPS]``.

Needs derefl[train]. The run is stored in outputs/train; the same command with more steps resumes
it. This example only shows the loop, because eight photographs are too few for a useful model. The
config of the published weights is configs/derefl-base.toml.
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
    pairs=PairsConfig(photos=(str(PICTURES / "layers"),), hold_back=4),
    # Strong reflections and few other effects, so that a short run shows a result.
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

# Another seed than in training, so these pairs are not in the training data.
batch = Pairs(config.pairs, config.synthesis, seed=1).batch(0, 32, 64)


@torch.inference_mode()
def loss(model: DeRefl) -> float:
    """The loss of a model on these pairs."""
    layers, kernel = model.eval()(batch.image), model.config.mean_kernel
    return float(decomposition_loss(layers, *batch, kernel, config.loss)[0])


print(f"loss before: {loss(DeRefl(config.model)):.4f}")
print(f"loss after {steps} steps: {loss(train(config, OUT, torch.device('cpu'))):.4f}")

model = load_derefl(OUT / "model.safetensors")  # like other weights
photo = Image.open(PICTURES / "through_glass" / "wine.jpg")
save_picture(model.dereflect(photo), OUT / "wine.png", overwrite=True)
print(f"look at wine.png and validation-{steps:06d}.png in {OUT}; the log is log.jsonl")
