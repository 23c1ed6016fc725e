"""Stored outputs of the shipped checkpoints: ``python -m tests.parity`` writes them anew.

They change when the weights change. If they change for any other reason, something is wrong.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file

from derefl import load_derefl

FIXTURES = Path(__file__).parent / "fixtures"


def store_derefl_small() -> None:
    """Input and layers of one 40×56 picture: smooth colours, edges, noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 5, 7, generator=generator)
    x = torch.nn.functional.interpolate(coarse, (40, 56), mode="bilinear")
    x[:, :, 10:30, 20:40] = 1 - x[:, :, 10:30, 20:40]
    x = (x + 0.05 * torch.rand(x.shape, generator=generator)).clamp(0, 1)
    with torch.inference_mode():
        layers = load_derefl("derefl-small")(x)
    tensors = {"input": x, **layers._asdict()}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, FIXTURES / "derefl-small.safetensors")


if __name__ == "__main__":
    FIXTURES.mkdir(exist_ok=True)
    store_derefl_small()
