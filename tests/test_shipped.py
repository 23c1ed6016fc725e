"""The shipped weights give their stored outputs, and remove reflections from the examples."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from derefl import list_models, load_derefl
from tests.conftest import REPOSITORY
from tests.parity import FIXTURES

PICTURES = REPOSITORY / "examples" / "pictures"

GAIN = {"brushes": 0.8, "coffee": 6.9, "friends": 3.8, "wine": 3.0}
"""Gain of derefl-base in dB, about half a decibel below the measured gain. test_examples has the
gain of derefl-small, in the notebook."""


def psnr(a, b):
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    return 10 * np.log10(255**2 / np.mean(difference**2))


@torch.inference_mode()
@pytest.mark.parametrize("name", ["derefl-small", "derefl-base"])
def test_parity_in_float32(name):
    model = load_derefl(name)
    stored = load_file(FIXTURES / f"{name}.safetensors")
    layers = model(stored["input"])
    for layer, value in layers._asdict().items():
        torch.testing.assert_close(value, stored[layer], atol=1e-4, rtol=0, msg=layer)


@torch.inference_mode()
def test_parity_in_bfloat16_is_loose():
    stored = load_file(FIXTURES / "derefl-small.safetensors")
    layers = load_derefl(dtype="bfloat16")(stored["input"].bfloat16())
    error = (layers.transmission.float() - stored["transmission"]).abs()
    assert error.mean() < 0.01


@pytest.mark.parametrize(
    ("entry_name", "parameters", "size"),
    [("derefl-small", 8_000_000, 17_000_000), ("derefl-base", 30_000_000, 36_000_000)],
)
def test_limits_of_size(entry_name, parameters, size):
    (entry,) = (m for m in list_models() if m.name == entry_name)
    assert entry.parameters <= parameters and entry.bytes <= size


@pytest.mark.parametrize("picture", GAIN)
def test_reflections_are_removed_from_the_examples(picture):
    """The output is nearer to the scene than the input is."""
    glass = Image.open(PICTURES / "through_glass" / f"{picture}.jpg")
    scene = Image.open(PICTURES / "layers" / f"{picture}.jpg")
    clean = load_derefl("derefl-base").dereflect(glass)
    assert clean.size == glass.size and clean.mode == "RGB"
    assert psnr(clean, scene) > psnr(glass, scene) + GAIN[picture]


@pytest.mark.parametrize("name", ["derefl-small", "derefl-base"])
def test_a_photo_without_reflection_changes_little(name):
    scene = Image.open(PICTURES / "layers" / "stream.jpg").reduce(2)
    assert psnr(load_derefl(name).dereflect(scene), scene) > 30
