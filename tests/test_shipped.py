"""The shipped weights do what they did when they were measured, and do their job."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from derefl import list_models, load_derefl
from tests.conftest import REPOSITORY
from tests.parity import FIXTURES

PICTURES = REPOSITORY / "examples" / "pictures"

GAIN = {"brushes": 3.6, "coffee": 7.0, "friends": 2.0, "wine": 2.2}
"""In dB, half a decibel or so below what the weights reach."""


@pytest.fixture(scope="module")
def model():
    return load_derefl()


def psnr(a, b):
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    return 10 * np.log10(255**2 / np.mean(difference**2))


@torch.inference_mode()
def test_parity_in_float32(model):
    stored = load_file(FIXTURES / "derefl-small.safetensors")
    layers = model(stored["input"])
    for name, value in layers._asdict().items():
        torch.testing.assert_close(value, stored[name], atol=1e-4, rtol=0, msg=name)


@torch.inference_mode()
def test_parity_in_bfloat16_is_loose():
    stored = load_file(FIXTURES / "derefl-small.safetensors")
    layers = load_derefl(dtype="bfloat16")(stored["input"].bfloat16())
    error = (layers.transmission.float() - stored["transmission"]).abs()
    assert error.mean() < 0.01


def test_limits_of_the_small_model():
    (entry,) = (m for m in list_models() if m.name == "derefl-small")
    assert entry.parameters <= 8_000_000
    assert entry.bytes <= 17_000_000


@pytest.mark.parametrize("name", ["brushes", "coffee", "friends", "wine"])
def test_reflections_are_removed_from_the_examples(model, name):
    """The output is nearer to the scene behind the glass than the picture through the glass is."""
    glass = Image.open(PICTURES / "through_glass" / f"{name}.jpg")
    scene = Image.open(PICTURES / "layers" / f"{name}.jpg")
    clean = model.dereflect(glass)
    assert clean.size == glass.size and clean.mode == "RGB"
    assert psnr(clean, scene) > psnr(glass, scene) + GAIN[name]


def test_a_photo_without_reflection_stays_itself(model):
    scene = Image.open(PICTURES / "layers" / "stream.jpg")
    assert psnr(model.dereflect(scene), scene) > 30
